// The live state of the page: session, connection, store, and what Svelte may watch of them.

import { call, get, HttpError, onRenewed, onUnauthorized, renew, requestId, setCsrf, type Session } from './api';
import type { Alert, AlertEvent, FeedStatus, Heartbeat, SysInfo, SysStatus } from './documents';
import { Link, type Kind } from './link';
import { isNotLive, Liveness, type Health } from './liveness';
import { bedKey, byUrgency, isAcknowledged, isForWard, Store, type BedView, type Scheduler } from './store';
import { sound } from './sound.svelte';
import { ui } from './ui.svelte';

/** A clock that never jumps, and frames that also come in a hidden page. */
export const browser: Scheduler = {
  now: () => performance.timeOrigin + performance.now(),
  later: (ms, run) => void setTimeout(run, ms),
  frame: (run) => void (document.hidden ? setTimeout(run) : requestAnimationFrame(run)),
};

/** One bed, watched by its tile. */
export class Cell {
  view = $state.raw<BedView | null>(null);
}

/** A store that Svelte can watch; the live wall has one, each replay another. */
export class Board {
  layout = $state.raw<{ ward: string; beds: string[] }[]>([]);
  /** Every open alert, most urgent first. */
  alerts = $state.raw<Alert[]>([]);
  feeds = $state.raw<FeedStatus[]>([]);
  status = $state.raw<SysStatus>();
  info = $state.raw<SysInfo>();
  heartbeat = $state.raw<Heartbeat>();
  deviceEvents = $state(0);
  /** Version of each case that was told of. */
  cases = $state.raw<ReadonlyMap<string, number>>(new Map());
  /** Time of a replay: of its newest document, ms. */
  time = $state(0);
  readonly store: Store;
  private timed = -Infinity;
  private readonly cells = new Map<string, Cell>();

  constructor(base: string, readonly sandbox = false) {
    this.store = new Store(base, browser);
    this.store.listen({
      reset: () => {
        for (const cell of this.cells.values()) cell.view = null;
      },
      beds: (changed) => {
        if (sandbox && performance.now() - this.timed > 1_000) {
          this.timed = performance.now();
          this.time = this.store.dataNow();
        }
        for (const [key, view] of changed) {
          this.cell(key).view = view;
          if (view === null && !this.placed(key)) this.cells.delete(key);
        }
      },
      layout: () => (this.layout = this.store.layout()),
      alerts: () => (this.alerts = this.store.allOpen()),
      cases: () => (this.cases = new Map(this.store.cases)),
      system: () => {
        this.feeds = [...this.store.feeds.values()];
        this.status = this.store.status;
        this.info = this.store.info;
        this.heartbeat = this.store.heartbeat;
        this.deviceEvents = this.store.deviceEvents;
      },
    });
  }

  cell(key: string): Cell {
    let cell = this.cells.get(key);
    if (!cell) {
      cell = new Cell();
      cell.view = this.store.view(key);
      this.cells.set(key, cell);
    }
    return cell;
  }

  private placed(key: string): boolean {
    return this.store.layout().some(({ ward, beds }) => beds.some((bed) => bedKey(ward, bed) === key));
  }
}

export interface CommandResponse {
  status: 'ok' | 'rejected' | 'error';
  code?: string;
  alert_state?: string;
  /** Its number in the journal, where it was done. */
  record?: number;
  compared?: { param: string; bedside: number; feed: number | null; age_ms: number | null; tolerance: number | null; agrees: boolean | null }[];
  hops?: { name: string; ms: number }[];
}

export interface Run {
  run: string;
  source: unknown;
  /** Time of its first message; unknown until that was read. */
  begin?: string | null;
  position_ms: number;
  /** `null`: not known yet. */
  length_ms: number | null;
  error?: string | null;
  speed: number;
  paused: boolean;
  loop: boolean;
  state: string;
  alerts: { at_ms: number; priority: string; text: { en?: string; it?: string } | string; id: string }[];
}

const TICK_MS = 500;
const REPLAY_POLL_MS = 10_000;

class Live {
  session = $state.raw<Session>();
  /** `login`: the service wants a user; `down`: it does not answer. */
  phase = $state<'starting' | 'login' | 'down' | 'running'>('starting');
  /** What the service says of itself before anybody has logged in. */
  refusal = $state.raw<Record<string, unknown>>({});
  ended = $state(false);
  board = $state.raw<Board>(new Board('vitalguard/v1/main'));
  kind = $state<Kind>('none');
  health = $state<Health>('connecting');
  lastUpdate = $state<number>();
  /** This display's clock, each second. */
  clock = $state(Date.now());
  /** The service's clock, each second. */
  now = $state(Date.now());
  /** The service's clock, each 5 s: for what may be a little late, such as sparklines. */
  slow = $state(Date.now());
  /** Spoken at once, new high alerts only. */
  spoken = $state('');
  wake = $state(false);
  runs = $state.raw<Run[]>([]);
  files = $state.raw<string[]>([]);
  /** False where the service has no replay. */
  replayKnown = $state(true);
  /** Commands that were accepted: what lists them is to be read again. */
  commands = $state(0);
  readonly selftest = new Set<(at: number) => void>();

  readonly notLive = $derived(isNotLive(this.health));
  /** Open, of the ward's list, not acknowledged: what the header counts. */
  readonly unacked = $derived(this.board.alerts.filter((alert) => isForWard(alert) && !isAcknowledged(alert) && alert.priority !== 'info'));
  readonly counts = $derived({
    high: this.unacked.filter((alert) => alert.priority === 'high').length,
    medium: this.unacked.filter((alert) => alert.priority === 'medium').length,
    low: this.unacked.filter((alert) => alert.priority === 'low').length,
  });
  readonly canAct = $derived(this.session !== undefined && this.session.role !== 'viewer' && !ui.kiosk);
  readonly engineer = $derived(this.session?.role === 'engineer' && !ui.kiosk);

  private link: Link | undefined;
  private life = new Liveness(browser.now());
  private build: string | undefined;
  private readonly spokenIds = new Set<string>();
  private replayAt = 0;
  private lock: { release(): Promise<void> } | undefined;

  constructor() {
    onUnauthorized((problem) => this.toLogin(problem, true));
    onRenewed((session) => (this.session = session));
    setInterval(() => this.tick(), TICK_MS);
    document.addEventListener('visibilitychange', () => void this.keepAwake());
  }

  async start(): Promise<void> {
    try {
      this.enter(await get<Session>('/api/v1/session'));
    } catch (error) {
      if (error instanceof HttpError && error.status === 401) this.toLogin(error.problem, false);
      else {
        this.phase = 'down';
        setTimeout(() => void this.start(), 5_000);
      }
    }
  }

  enter(session: Session): void {
    this.leave();
    setCsrf(session.csrf);
    this.session = session;
    this.ended = false;
    ui.suggest(session.language);
    this.board = new Board(`${session.root}/v1/${session.site}`);
    this.board.store.listen({
      alerts: () => this.announce(),
      system: () => this.onSystem(),
      event: (event) => this.onEvent(event),
      gap: (ward, bed) => void this.reread(ward, bed),
      beds: (changed) => {
        if ([...changed.keys()].some((key) => key.endsWith('/_selftest'))) for (const done of this.selftest) done(performance.now());
      },
    });
    this.life = new Liveness(browser.now());
    this.phase = 'running';
    const { store } = this.board;
    this.link = new Link(
      {
        opened: () => {
          store.beginSnapshot();
          this.life.opened();
          this.tick();
        },
        closed: () => {
          store.cancelSnapshot();
          this.life.closed();
          this.tick();
        },
        changed: (kind) => {
          this.kind = kind;
          if (kind !== 'none') this.life.opened();
          this.tick();
        },
        deliver: (topic, payload) => this.deliver(topic, payload),
        refused: () => void renew(),
        station: (state) => this.station(state),
      },
      session.root, session.site, session.mqtt, session.role !== 'viewer',
    );
    void this.keepAwake();
    void this.pollReplay();
  }

  async logout(): Promise<void> {
    try {
      await call('DELETE', '/api/v1/session');
    } catch {
      // The cookie ends by itself.
    }
    this.leave();
    this.phase = 'starting';
    await this.start();
  }

  /** Sends a command; says what became of it. `undefined`: not accepted. */
  async command(verb: string, body: Record<string, unknown>, done?: string): Promise<CommandResponse | undefined> {
    const { t } = ui;
    try {
      const response = await call<CommandResponse>('POST', `/api/v1/cmd/${verb}`, { request_id: requestId(), ...body }, verb === 'selftest' ? 15_000 : 5_000);
      if (response.status === 'ok') {
        this.commands += 1;
        ui.say(done ?? t.cmd.ok);
        return response;
      }
      ui.say(`${t.cmd.failed}: ${t.cmd.code[response.code ?? ''] ?? response.code ?? response.status}`, 'bad');
    } catch (error) {
      const status = error instanceof HttpError ? error.status : 0;
      ui.say(status === 0 ? t.cmd.noAnswer : `${t.cmd.failed}: ${status === 403 ? t.cmd.code.FORBIDDEN : t.error.http(status)}`, 'bad');
    }
    return undefined;
  }

  /** Acknowledges one alert at the revision that the person sees. */
  async ack(alert: Alert): Promise<void> {
    if (!this.canAct) return ui.say(ui.t.cmd.role, 'bad');
    await this.command('ack', { alert: alert.id, rev: this.board.store.seenRev(alert) }, ui.t.cmd.acked(alert.bed));
  }

  /** The worst alert of a bed that nobody has acknowledged. */
  async ackBed(ward: string, bed: string): Promise<void> {
    const alert = this.unacked.find((open) => open.ward === ward && open.bed === bed);
    if (alert) await this.ack(alert);
    else ui.say(ui.t.cmd.nothing, 'bad');
  }

  async pollReplay(): Promise<void> {
    this.replayAt = browser.now();
    if (!this.replayKnown) return;
    try {
      const { runs, files } = await get<{ runs: Run[]; files?: string[] }>('/api/v1/replay');
      this.runs = runs;
      this.files = files ?? [];
    } catch (error) {
      if (error instanceof HttpError && (error.status === 404 || error.status === 403)) this.replayKnown = false;
    }
  }

  /** What the page is, for `station/…/status`. */
  private station(state: 'online' | 'offline'): { user: string; payload: string } | undefined {
    const { session } = this;
    if (!session) return undefined;
    const ts = new Date(this.board.store.serverNow());
    const { page, ward } = ui.route;
    const payload = {
      schema: 'station-status/1', ts: ts.toISOString(), ts_ms: ts.getTime(), site: session.site, user: session.user, state,
      page: ward ? `${page}/${ward}` : page, lang: ui.lang, sound: sound.state, build: session.build,
    };
    return { user: session.user, payload: JSON.stringify(payload) };
  }

  private leave(): void {
    this.link?.stop();
    this.link = undefined;
    this.session = undefined;
    this.kind = 'none';
    setCsrf('');
  }

  private toLogin(problem: Record<string, unknown>, ended: boolean): void {
    this.leave();
    this.board = new Board('vitalguard/v1/main');
    this.refusal = problem;
    this.ended = ended;
    this.phase = 'login';
    ui.suggest(typeof problem.language === 'string' ? problem.language : undefined);
  }

  private deliver(topic: string, payload: unknown): void {
    const now = browser.now();
    this.life.received(now);
    this.board.store.apply(topic, payload);
    if (topic.endsWith('/sys/heartbeat') && this.board.store.heartbeat) {
      this.life.heartbeat(now, this.board.store.serverNow() - this.board.store.heartbeat.ts_ms);
      this.settle(now);
    }
  }

  private tick(): void {
    const now = browser.now();
    this.life.tick(now);
    this.link?.tick();
    const second = Math.floor(Date.now() / 1_000) * 1_000;
    if (second !== this.clock) {
      this.clock = second;
      this.now = this.board.store.serverNow();
      if (Math.floor(second / 1_000) % 5 === 0) this.slow = this.now;
      this.board.store.tick();
      sound.tick(this.unacked, this.phase === 'running' && !this.notLive);
      if (this.phase === 'running' && now - this.replayAt > REPLAY_POLL_MS) void this.pollReplay();
    }
    this.settle(now);
  }

  private settle(now: number): void {
    this.health = this.life.health(now);
    if (this.life.receivedAt !== undefined) this.lastUpdate = Math.floor(this.life.receivedAt / 1_000) * 1_000;
  }

  private onSystem(): void {
    const { status, info } = this.board.store;
    if (status) this.life.status(status.state === 'online');
    if (!info) return;
    // A new build brings a new page, but never under an unacknowledged high alert.
    if (this.build !== undefined && this.build !== info.build && this.counts.high === 0) location.reload();
    this.build ??= info.build;
  }

  private onEvent(event: AlertEvent): void {
    if (event.event === 'escalated' || event.event === 'unacknowledged') this.spokenIds.delete(event.alert.id);
  }

  private announce(): void {
    const open = this.board.store.allOpen().filter((alert) => isForWard(alert) && alert.priority === 'high' && !isAcknowledged(alert)).sort(byUrgency);
    const fresh = open.filter((alert) => !this.spokenIds.has(alert.id));
    for (const alert of fresh) this.spokenIds.add(alert.id);
    if (fresh.length > 0) this.spoken = fresh.map((alert) => ui.t.spoken.newHigh(alert.bed, ui.pick(alert.text))).join(' ');
    if (this.spokenIds.size > 1_000) this.spokenIds.clear();
  }

  private async reread(ward: string, bed: string): Promise<void> {
    try {
      const { documents } = await get<{ documents: { topic: string; payload: unknown }[] }>(`/api/v1/state/${encodeURIComponent(ward)}/${encodeURIComponent(bed)}`);
      const { session } = this;
      for (const { topic, payload } of documents ?? []) {
        const full = session && !topic.startsWith(`${session.root}/`) ? `${session.root}/v1/${session.site}/${topic}` : topic;
        this.board.store.apply(full, payload);
      }
    } catch {
      // The bed's next document brings it.
    }
  }

  private async keepAwake(): Promise<void> {
    if (document.hidden || !('wakeLock' in navigator) || this.phase !== 'running') return;
    try {
      const lock = await navigator.wakeLock.request('screen');
      void this.lock?.release().catch(() => {});
      this.lock = lock;
      this.wake = true;
      lock.addEventListener('release', () => {
        if (this.lock === lock) this.wake = false;
      });
    } catch {
      this.wake = false;
    }
  }
}

export const live = new Live();

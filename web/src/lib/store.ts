// Everything that the page knows, fed by one door: `apply(topic, payload | null)`.
//
// The store knows neither Svelte nor a browser. What changed is collected and told at most four times a second, in one animation
// frame; alerts do not wait for that. Documents are judged by `boot`, `rev` and time, so repeats and leftovers do no harm.

import { TRUSTS, type Alert, type AlertEvent, type BedState, type CaseStatus, type FeedStatus, type Heartbeat, type Param, type SysInfo, type SysStatus, type Trust, type Vitals, type WardState } from './documents';
import { Ring } from './ring';
import { parseTopic, type Topic } from './topic';

/** Changes are told this often, ms. */
export const COALESCE_MS = 250;
/** A medium alert that ended stays in sight for this long, ms. */
export const RESOLVED_MS = 60_000;
/** After a new connection: what has not come again by then is gone, ms. */
export const SNAPSHOT_MS = 15_000;
const BEDS_MAX = 2_000;
const ALERTS_MAX = 5_000;
const NAMES_MAX = 200;
const CASES_MAX = 1_000;
const CLOSED_MAX = 1_000;

/** The clock and the frames of the page; a test has its own. */
export interface Scheduler {
  /** Milliseconds since 1970 by a clock that never jumps. */
  now(): number;
  later(ms: number, run: () => void): void;
  frame(run: () => void): void;
}

/** What a tile and the detail show of a bed. A new object at each change. */
export interface BedView {
  key: string;
  ward: string;
  bed: string;
  trust: Trust;
  params: Record<string, Param>;
  /** Time of the newest document about the bed by the service's clock, ms; 0: none came yet. */
  ts: number;
  rev: number;
  learning: boolean;
  advisories: number;
  device?: string;
  /** Open alerts of the ward's list, worst first; without those folded under another one. */
  alerts: Alert[];
  /** Folded or for engineers. */
  others: Alert[];
  resolved: Alert[];
  /** Expected time between two values by parameter, ms, as seen here. */
  periods: Record<string, number>;
}

export interface Listener {
  beds?(changed: ReadonlyMap<string, BedView | null>): void;
  layout?(): void;
  alerts?(): void;
  system?(): void;
  /** Which cases there are, and their versions. */
  cases?(): void;
  /** Everything was forgotten. */
  reset?(): void;
  event?(event: AlertEvent): void;
  /** Events are missing: the bed is to be read again. */
  gap?(ward: string, bed: string): void;
}

interface Bed {
  key: string;
  ward: string;
  bed: string;
  state?: BedState;
  stateExpires: number;
  vitals?: Vitals;
  hr: Ring;
  spo2: Ring;
  lastAt: Record<string, number>;
  periods: Record<string, number>;
}

interface Open {
  alert: Alert;
  key: string;
  /** Of the document that said it, ms. */
  ts: number;
}

const RANK: Record<string, number> = { high: 0, medium: 1, low: 2, info: 3 };

export function isAcknowledged(alert: Alert): boolean {
  return alert.state === 'acknowledged' || alert.state === 'shelved';
}

/** Unacknowledged first, then priority, then onset: the order of every list of open alerts. */
export function byUrgency(a: Alert, b: Alert): number {
  return Number(isAcknowledged(a)) - Number(isAcknowledged(b))
    || (RANK[a.priority] ?? 9) - (RANK[b.priority] ?? 9)
    || (a.onset < b.onset ? -1 : a.onset > b.onset ? 1 : 0)
    || (a.id < b.id ? -1 : 1);
}

/** On the wall and in the ear: not folded under another one, not for engineers alone. */
export function isForWard(alert: Alert): boolean {
  return alert.because === undefined && alert.assessment !== 'unverified' && (alert.priority !== 'info' || alert.assessment === 'physiology');
}

export const bedKey = (ward: string, bed: string): string => `${ward}/${bed}`;

export class Store {
  status: SysStatus | undefined;
  info: SysInfo | undefined;
  heartbeat: Heartbeat | undefined;
  readonly feeds = new Map<string, FeedStatus>();
  /** Version of each case that the service tells of. */
  readonly cases = new Map<string, number>();
  /** Bumped when a device event arrives: the inventory is to be read again. */
  deviceEvents = 0;

  private boot: string | undefined;
  private abandoned: string[] = [];
  private newestTs = 0;
  private readonly beds = new Map<string, Bed>();
  private readonly wards = new Map<string, WardState[]>();
  private readonly open = new Map<string, Open>();
  private readonly byBed = new Map<string, Set<string>>();
  private readonly closed = new Map<string, number>();
  private readonly seqs = new Map<string, number>();
  private readonly resolved = new Map<string, { alert: Alert; key: string; until: number }>();
  private readonly seen = new Map<string, { rev: number; round: number }>();
  private round = 0;
  private roundEnds = 0;
  private readonly offsets: number[] = [];

  private readonly dirty = new Set<string>();
  private changed = { layout: false, alerts: false, system: false, cases: false, reset: false };
  private timer = false;
  private framed = false;
  private readonly listeners = new Set<Listener>();

  /** `base`: `{P}/v1/{site}`; only topics below it are read. */
  constructor(private base: string, private readonly scheduler: Scheduler) {}

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The service's clock as heard from its heartbeats, ms. */
  serverNow(): number {
    return this.scheduler.now() - (this.offsets.length > 0 ? Math.min(...this.offsets) : 0);
  }

  /** Time of the newest document, ms: the clock of a replay. */
  dataNow(): number {
    return this.newestTs;
  }

  /** A new connection will bring every retained document: what does not come again is dropped after a while. */
  beginSnapshot(): void {
    this.round += 1;
    this.roundEnds = this.scheduler.now() + SNAPSHOT_MS;
  }

  /** The connection is gone before it brought everything: nothing is concluded from it. */
  cancelSnapshot(): void {
    this.roundEnds = 0;
  }

  /** Takes one message; false where it was not for us, a repeat, or a leftover. */
  apply(topic: string, payload: unknown): boolean {
    const where = parseTopic(this.base, topic);
    if (!where) return false;
    if (payload === null || payload === undefined) return this.tombstone(topic, where);
    if (typeof payload !== 'object') return false;
    const doc = payload as { ts_ms?: unknown; boot?: unknown; rev?: unknown };
    if (typeof doc.ts_ms !== 'number' || typeof doc.boot !== 'string') return false;
    if (!this.admit(doc.boot, doc.ts_ms, where.kind === 'heartbeat')) return false;
    this.newestTs = Math.max(this.newestTs, doc.ts_ms);
    if (typeof doc.rev === 'number' && !this.isNews(topic, doc.rev)) return false;
    // What was not taken stands in the way of nothing that comes after it.
    if (!this.take(where, payload)) return false;
    if (typeof doc.rev === 'number') this.seen.set(topic, { rev: doc.rev, round: this.round });
    return true;
  }

  private take(where: Topic, payload: unknown): boolean {
    switch (where.kind) {
      case 'status':
        this.status = payload as SysStatus;
        return this.told('system', true);
      case 'info':
        this.info = payload as SysInfo;
        return this.told('system', false);
      case 'heartbeat':
        return this.applyHeartbeat(payload as Heartbeat);
      case 'feed':
        if (this.feeds.size < NAMES_MAX || this.feeds.has(where.feed)) this.feeds.set(where.feed, payload as FeedStatus);
        return this.told('system', false);
      case 'device':
        this.deviceEvents += 1;
        return this.told('system', false);
      case 'case':
        return this.applyCase(where.id, payload as CaseStatus);
      case 'ward':
        return this.applyWard(where.ward, where.part, payload as WardState);
      case 'bed':
        return this.applyBed(where.ward, where.bed, payload as BedState);
      case 'vitals':
        return this.applyVitals(where.ward, where.bed, payload as Vitals);
      case 'event':
        return this.applyEvent(where.ward, where.bed, payload as AlertEvent);
    }
  }

  /** Once a second: ends what has an end. */
  tick(): void {
    const now = this.scheduler.now();
    for (const [id, resolved] of this.resolved) {
      if (resolved.until > now) continue;
      this.resolved.delete(id);
      this.touch(resolved.key);
    }
    const server = this.serverNow();
    for (const bed of this.beds.values()) {
      if (bed.state && bed.stateExpires !== 0 && bed.stateExpires < server) {
        bed.stateExpires = 0;
        this.touch(bed.key);
      }
    }
    if (this.roundEnds !== 0 && this.roundEnds <= now) {
      this.roundEnds = 0;
      this.sweep();
    }
  }

  /** Forgets everything. */
  reset(): void {
    for (const key of this.beds.keys()) this.dirty.add(key);
    this.status = undefined;
    this.info = undefined;
    this.heartbeat = undefined;
    for (const map of [this.beds, this.wards, this.open, this.byBed, this.closed, this.seqs, this.resolved, this.seen, this.feeds, this.cases]) map.clear();
    this.boot = undefined;
    this.newestTs = 0;
    this.changed = { layout: true, alerts: true, system: true, cases: true, reset: true };
    this.urgent();
  }

  /**
   * Wards by name, for documents arrive in any order; their beds in the order of the ward document, which is for ever; a bed that no
   * ward document names comes last.
   */
  layout(): { ward: string; beds: string[] }[] {
    const wards = new Map<string, string[]>();
    const placed = new Set<string>();
    for (const [ward, parts] of this.wards) {
      const beds: string[] = [];
      for (const part of parts) for (const { bed } of part?.beds ?? []) {
        if (placed.has(bedKey(ward, bed))) continue;
        placed.add(bedKey(ward, bed));
        beds.push(bed);
      }
      wards.set(ward, beds);
    }
    for (const bed of [...this.beds.values()].sort((a, b) => (a.bed < b.bed ? -1 : 1))) {
      if (placed.has(bed.key)) continue;
      const beds = wards.get(bed.ward) ?? [];
      beds.push(bed.bed);
      wards.set(bed.ward, beds);
    }
    return [...wards].sort(([a], [b]) => (a < b ? -1 : 1)).map(([ward, beds]) => ({ ward, beds }));
  }

  /** Every open alert, also folded ones and those for engineers. */
  allOpen(): Alert[] {
    return [...this.open.values()].map((open) => open.alert).sort(byUrgency);
  }

  find(id: string): Alert | undefined {
    return this.open.get(id)?.alert;
  }

  /** Revision of the bed's document, if it shows the alert as it is known here: an event comes before the document that has it. */
  seenRev(alert: Alert): number | undefined {
    const state = this.beds.get(bedKey(alert.ward, alert.bed))?.state;
    return state?.active.some((open) => open.id === alert.id && open.priority === alert.priority) ? state.rev : undefined;
  }

  rings(key: string): { hr: Ring; spo2: Ring } | undefined {
    return this.beds.get(key);
  }

  view(key: string): BedView | null {
    const bed = this.beds.get(key);
    if (!bed) return null;
    const { state, vitals } = bed;
    const params: Record<string, Param> = {};
    const newer = vitals && vitals.ts_ms > (state?.ts_ms ?? 0) ? vitals : undefined;
    for (const [name, param] of Object.entries(state?.params ?? {})) params[name] = param;
    for (const [name, param] of Object.entries(newer?.params ?? {})) params[name] = { ...params[name], ...param };
    const believed = state === undefined || bed.stateExpires !== 0 || newer !== undefined;
    if (!believed) for (const [name, param] of Object.entries(params)) params[name] = { ...param, value: null, trust: 'nofeed' };
    const all = [...(this.byBed.get(key) ?? [])].flatMap((id) => this.open.get(id)?.alert ?? []).sort(byUrgency);
    return {
      key,
      ward: bed.ward,
      bed: bed.bed,
      trust: believed ? (newer?.trust ?? state?.trust ?? 'nofeed') : 'nofeed',
      params,
      ts: Math.max(state?.ts_ms ?? 0, vitals?.ts_ms ?? 0),
      rev: state?.rev ?? 0,
      learning: state?.learning ?? false,
      advisories: state?.device?.advisories ?? 0,
      device: state?.device?.id,
      alerts: all.filter(isForWard),
      others: all.filter((alert) => !isForWard(alert)),
      resolved: [...this.resolved.values()].filter((resolved) => resolved.key === key).map((resolved) => resolved.alert),
      periods: bed.periods,
    };
  }

  private admit(boot: string, ts: number, current: boolean): boolean {
    if (boot === this.boot) return true;
    if (this.boot === undefined) {
      this.boot = boot;
      return true;
    }
    if (this.abandoned.includes(boot) || (!current && ts < this.newestTs)) return false;
    this.abandoned = [...this.abandoned.slice(-20), this.boot];
    this.reset();
    this.boot = boot;
    return true;
  }

  private isNews(topic: string, rev: number): boolean {
    const seen = this.seen.get(topic);
    if (seen === undefined) return this.seen.size < BEDS_MAX * 2;
    seen.round = this.round;
    return rev > seen.rev;
  }

  private applyHeartbeat(heartbeat: Heartbeat): boolean {
    this.heartbeat = heartbeat;
    this.offsets.push(this.scheduler.now() - heartbeat.ts_ms);
    if (this.offsets.length > 12) this.offsets.shift();
    return this.told('system', true);
  }

  private applyCase(id: string, doc: CaseStatus): boolean {
    if (doc.case !== id || typeof doc.version !== 'number' || (!this.cases.has(id) && this.cases.size >= CASES_MAX)) return false;
    if (this.cases.get(id) === doc.version) return true;
    this.cases.set(id, doc.version);
    return this.told('cases', false);
  }

  private applyWard(ward: string, part: number, doc: WardState): boolean {
    if (!Array.isArray(doc.beds) || (!this.wards.has(ward) && this.wards.size >= NAMES_MAX)) return false;
    const parts = (this.wards.get(ward) ?? []).slice(0, Math.max(1, doc.parts));
    const same = parts[part]?.beds.length === doc.beds.length && parts[part].beds.every((bed, i) => bed.bed === doc.beds[i]?.bed);
    parts[part] = doc;
    this.wards.set(ward, parts);
    if (!same) this.told('layout', false);
    return true;
  }

  private bed(ward: string, name: string): Bed | undefined {
    const key = bedKey(ward, name);
    const known = this.beds.get(key);
    if (known || this.beds.size >= BEDS_MAX) return known;
    const bed = { key, ward, bed: name, stateExpires: 0, hr: new Ring(), spo2: new Ring(), lastAt: {}, periods: {} };
    this.beds.set(key, bed);
    this.changed.layout = true;
    return bed;
  }

  private applyBed(ward: string, name: string, doc: BedState): boolean {
    if (!Array.isArray(doc.active) || typeof doc.params !== 'object' || doc.params === null) return false;
    if (doc.ward !== ward || doc.bed !== name || !TRUSTS.includes(doc.trust)) return false;
    const bed = this.bed(ward, name);
    if (!bed) return false;
    bed.state = doc;
    const until = Date.parse(doc.valid_until ?? '');
    bed.stateExpires = Number.isNaN(until) ? Infinity : until;
    this.learnValues(bed, doc.ts_ms, doc.params);
    let urgent = false;
    const present = new Set<string>();
    for (const alert of doc.active) {
      present.add(alert.id);
      if ((this.closed.get(alert.id) ?? -1) >= doc.ts_ms) continue;
      const known = this.open.get(alert.id);
      if (known && known.ts > doc.ts_ms) continue;
      urgent = this.put(bed.key, alert, doc.ts_ms) || urgent;
    }
    for (const id of [...(this.byBed.get(bed.key) ?? [])]) {
      const known = this.open.get(id);
      if (present.has(id) || !known || known.ts > doc.ts_ms) continue;
      this.close(known, doc.ts_ms);
      urgent = true;
    }
    this.touch(bed.key);
    if (urgent) this.told('alerts', true);
    return true;
  }

  private applyVitals(ward: string, name: string, doc: Vitals): boolean {
    if (typeof doc.params !== 'object' || doc.params === null) return false;
    const bed = this.bed(ward, name);
    if (!bed || (bed.vitals && bed.vitals.ts_ms >= doc.ts_ms)) return false;
    bed.vitals = doc;
    this.learnValues(bed, doc.ts_ms, doc.params);
    this.touch(bed.key);
    return true;
  }

  private applyEvent(ward: string, name: string, doc: AlertEvent): boolean {
    const { alert } = doc;
    if (typeof alert?.id !== 'string' || typeof doc.seq !== 'number') return false;
    const known = this.seqs.get(alert.id);
    if (known !== undefined && doc.seq <= known) return false;
    if (this.seqs.size >= ALERTS_MAX) this.seqs.delete(this.seqs.keys().next().value ?? '');
    this.seqs.delete(alert.id);
    this.seqs.set(alert.id, doc.seq);
    const key = bedKey(ward, name);
    const ends = doc.event === 'cleared' || doc.event === 'expired';
    // The end of an alert opens no bed: those of a bed that was removed end after it.
    if (!ends && !this.bed(ward, name)) return false;
    const before = this.open.get(alert.id);
    if (ends) this.close(before ?? { alert, key, ts: doc.ts_ms }, doc.ts_ms, alert);
    // The bed's own document, when newer, has said it already.
    else if (!before || before.ts <= doc.ts_ms) this.put(key, alert, doc.ts_ms);
    for (const listener of this.listeners) listener.event?.(doc);
    if (known !== undefined && doc.seq > known + 1) for (const listener of this.listeners) listener.gap?.(ward, name);
    this.touch(key);
    return this.told('alerts', true);
  }

  /** True where a person should see the difference at once. */
  private put(key: string, alert: Alert, ts: number): boolean {
    const before = this.open.get(alert.id)?.alert;
    if (!before && this.open.size >= ALERTS_MAX) return false;
    this.open.set(alert.id, { alert, key, ts });
    this.resolved.delete(alert.id);
    const ids = this.byBed.get(key) ?? new Set();
    ids.add(alert.id);
    this.byBed.set(key, ids);
    return before?.state !== alert.state || before.priority !== alert.priority || before.acked?.user !== alert.acked?.user
      || before.because !== alert.because;
  }

  private close(open: Open, ts: number, last: Alert = open.alert): void {
    const { id } = open.alert;
    this.open.delete(id);
    this.byBed.get(open.key)?.delete(id);
    if (this.closed.size >= CLOSED_MAX) this.closed.delete(this.closed.keys().next().value ?? '');
    this.closed.set(id, ts);
    if (open.alert.priority === 'medium' && isForWard(open.alert) && this.resolved.size < NAMES_MAX)
      this.resolved.set(id, { alert: last, key: open.key, until: this.scheduler.now() + RESOLVED_MS });
  }

  private learnValues(bed: Bed, ts: number, params: Record<string, Pick<Param, 'value' | 'age_ms'>>): void {
    for (const [name, param] of Object.entries(params).slice(0, 32)) {
      if (param.value === null || param.age_ms === undefined) continue;
      const at = ts - param.age_ms;
      const last = bed.lastAt[name];
      if (last !== undefined && at - last > 300) {
        const before = bed.periods[name];
        bed.periods[name] = before === undefined ? at - last : before * 0.8 + (at - last) * 0.2;
      }
      if (last === undefined || at > last) bed.lastAt[name] = at;
    }
    bed.hr.push(ts, params.hr?.value ?? null);
    bed.spo2.push(ts, params.spo2?.value ?? null);
  }

  private tombstone(topic: string, where: Topic): boolean {
    this.seen.delete(topic);
    if (where.kind === 'feed') this.feeds.delete(where.feed);
    else if (where.kind === 'case') return this.cases.delete(where.id) && this.told('cases', false);
    else if (where.kind === 'ward') {
      const parts = this.wards.get(where.ward) ?? [];
      delete parts[where.part];
      if (where.part === 0) this.wards.delete(where.ward);
      this.told('layout', false);
    } else if (where.kind === 'bed') this.drop(bedKey(where.ward, where.bed));
    else return false;
    return this.told('system', false);
  }

  private drop(key: string): void {
    for (const id of this.byBed.get(key) ?? []) this.open.delete(id);
    for (const [id, resolved] of this.resolved) if (resolved.key === key) this.resolved.delete(id);
    this.byBed.delete(key);
    if (!this.beds.delete(key)) return;
    this.dirty.add(key);
    this.changed.layout = true;
    this.told('alerts', true);
  }

  /** What was retained before the last connection and has not come again is gone, its tombstone unheard. */
  private sweep(): void {
    for (const [topic, seen] of [...this.seen]) {
      if (seen.round >= this.round) continue;
      const where = parseTopic(this.base, topic);
      if (where && where.kind !== 'heartbeat') this.tombstone(topic, where);
    }
  }

  private touch(key: string): void {
    this.dirty.add(key);
    this.soon();
  }

  private told(what: 'layout' | 'alerts' | 'system' | 'cases', now: boolean): true {
    this.changed[what] = true;
    if (now) this.urgent();
    else this.soon();
    return true;
  }

  private soon(): void {
    if (this.timer || this.framed) return;
    this.timer = true;
    this.scheduler.later(COALESCE_MS, () => {
      this.timer = false;
      this.urgent();
    });
  }

  private urgent(): void {
    if (this.framed) return;
    this.framed = true;
    this.scheduler.frame(() => this.flush());
  }

  private flush(): void {
    this.framed = false;
    const { layout, alerts, system, cases, reset } = this.changed;
    this.changed = { layout: false, alerts: false, system: false, cases: false, reset: false };
    const changed = new Map<string, BedView | null>();
    for (const key of this.dirty) changed.set(key, this.view(key));
    this.dirty.clear();
    for (const listener of this.listeners) {
      if (reset) listener.reset?.();
      if (changed.size > 0) listener.beds?.(changed);
      if (layout) listener.layout?.();
      if (alerts) listener.alerts?.();
      if (system) listener.system?.();
      if (cases) listener.cases?.();
    }
  }
}

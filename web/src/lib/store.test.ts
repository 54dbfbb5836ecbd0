import { describe, expect, it } from 'vitest';
import type { Alert, Priority } from './documents';
import { Liveness } from './liveness';
import { Ring, RING_POINTS } from './ring';
import { COALESCE_MS, RESOLVED_MS, SNAPSHOT_MS, Store, type BedView, type Scheduler } from './store';
import { parseTopic } from './topic';

const BASE = 'vitalguard/v1/hsp1';
const T0 = Date.parse('2026-11-22T18:00:00.000Z');

class Clock implements Scheduler {
  at = T0;
  private timers: { at: number; run: () => void }[] = [];
  private frames: (() => void)[] = [];
  now = () => this.at;
  later = (ms: number, run: () => void) => void this.timers.push({ at: this.at + ms, run });
  frame = (run: () => void) => void this.frames.push(run);
  /** Moves on and runs what is due, each frame at once. */
  pass(ms: number): void {
    this.at += ms;
    const due = this.timers.filter((timer) => timer.at <= this.at);
    this.timers = this.timers.filter((timer) => timer.at > this.at);
    for (const timer of due) timer.run();
    for (const run of this.frames.splice(0)) run();
  }
}

function world() {
  const clock = new Clock();
  const store = new Store(BASE, clock);
  const seen = { beds: new Map<string, BedView | null>(), flushes: 0, alerts: 0, resets: 0, gaps: [] as string[] };
  store.listen({
    beds: (changed) => {
      seen.flushes += 1;
      for (const [key, view] of changed) seen.beds.set(key, view);
    },
    alerts: () => void (seen.alerts += 1),
    reset: () => {
      seen.resets += 1;
      seen.beds.clear();
    },
    gap: (ward, bed) => void seen.gaps.push(`${ward}/${bed}`),
  });
  return { clock, store, seen };
}

function alert(id: string, priority: Priority = 'medium', more: Partial<Alert> = {}): Alert {
  return {
    id, ref: '0000-0000', site: 'hsp1', ward: 'icu', bed: 'A03', condition: 'T03 flat_line', assessment: 'tamper', priority,
    state: 'active', params: ['hr'], onset: new Date(T0).toISOString(), raised: '', updated: '', count: 1, confidence: 0.9,
    text: { en: 'x', it: 'x' }, action: { en: 'x', it: 'x' }, evidence: [], ...more,
  };
}

function bed(rev: number, ts: number, active: Alert[] = [], boot = 'b1', hr: number | null = 72) {
  return {
    schema: 'bed-state/1', ts: '', ts_ms: ts, boot, rev, valid_until: new Date(ts + 150_000).toISOString(), site: 'hsp1', ward: 'icu',
    bed: 'A03', trust: active.length > 0 ? 'untrusted' : 'plausible', learning: false,
    params: { hr: { value: hr, unit: '/min', trust: hr === null ? 'stale' : 'plausible', age_ms: 300 } }, active,
  };
}

const event = (name: string, seq: number, ts: number, a: Alert, boot = 'b1') =>
  ({ schema: 'alert-event/1', event: name, seq, ts: '', ts_ms: ts, boot, site: 'hsp1', ward: 'icu', bed: 'A03', alert: a });
const beat = (ts: number, boot = 'b1', rev = ts) => ({ schema: 'heartbeat/1', ts: '', ts_ms: ts, boot, rev, site: 'hsp1', beds: {}, alerts: {}, outbox: 0, dropped: {} });
const vitals = (ts: number, hr: number | null) =>
  ({ schema: 'vitals/1', ts: '', ts_ms: ts, boot: 'b1', site: 'hsp1', ward: 'icu', bed: 'A03', trust: 'plausible', params: { hr: { value: hr, trust: hr === null ? 'stale' : 'plausible', age_ms: 100 } } });
const BED = `${BASE}/ward/icu/bed/A03/state`;
const EVENT = `${BASE}/ward/icu/bed/A03/event/medium`;

describe('topics', () => {
  it('are read below the base only', () => {
    expect(parseTopic(BASE, BED)).toEqual({ kind: 'bed', ward: 'icu', bed: 'A03' });
    expect(parseTopic(BASE, `${BASE}/ward/icu/state`)).toEqual({ kind: 'ward', ward: 'icu', part: 0 });
    expect(parseTopic(BASE, `${BASE}/ward/icu/state/2`)).toEqual({ kind: 'ward', ward: 'icu', part: 2 });
    expect(parseTopic(BASE, `${BASE}/case/C-1/status`)).toEqual({ kind: 'case', id: 'C-1' });
    expect(parseTopic(BASE, `${EVENT}`)).toEqual({ kind: 'event', ward: 'icu', bed: 'A03', priority: 'medium' });
    for (const other of ['vitalguard/replay/r1/v1/hsp1/ward/icu/state', `${BASE}x/ward/icu/state`, `${BASE}/ward/icu/bed/A03/flat`, `${BED}/more`])
      expect(parseTopic(BASE, other)).toBeUndefined();
  });
});

describe('store', () => {
  it('tells changes of values at most four times a second', () => {
    const { clock, store, seen } = world();
    store.apply(BED, bed(1, T0));
    clock.pass(COALESCE_MS);
    for (let i = 1; i <= 40; i += 1) {
      store.apply(`${BASE}/ward/icu/bed/A03/vitals`, vitals(T0 + i * 25, 60 + i));
      clock.pass(25);
    }
    expect(seen.flushes).toBeLessThanOrEqual(5);
    expect(seen.beds.get('icu/A03')?.params.hr?.value).toBe(100);
  });

  it('tells an alert in the next frame, past the coalescer', () => {
    const { clock, store, seen } = world();
    store.apply(BED, bed(1, T0));
    clock.pass(COALESCE_MS);
    store.apply(EVENT, event('raised', 1, T0 + 10, alert('A-1')));
    clock.pass(0);
    expect(seen.beds.get('icu/A03')?.alerts.map((a) => a.id)).toEqual(['A-1']);
  });

  it('ignores repeats and late documents by rev, events by seq', () => {
    const { store } = world();
    expect(store.apply(BED, bed(5, T0 + 5))).toBe(true);
    expect(store.apply(BED, bed(5, T0 + 5))).toBe(false);
    expect(store.apply(BED, bed(4, T0 + 9))).toBe(false);
    expect(store.apply(EVENT, event('raised', 1, T0 + 10, alert('A-1')))).toBe(true);
    expect(store.apply(`${BASE}/ward/icu/bed/A03/event/high`, event('raised', 1, T0 + 10, alert('A-1')))).toBe(false);
  });

  it('asks for the bed again where seq has a gap', () => {
    const { store, seen } = world();
    store.apply(EVENT, event('raised', 1, T0, alert('A-1')));
    store.apply(EVENT, event('updated', 3, T0 + 1, alert('A-1')));
    expect(seen.gaps).toEqual(['icu/A03']);
  });

  it('forgets everything at a new boot and never returns to an old one', () => {
    const { clock, store, seen } = world();
    store.apply(BED, bed(9, T0, [alert('A-1')]));
    store.apply(`${BASE}/ward/icu/bed/A04/state`, { ...bed(9, T0), bed: 'A04' });
    clock.pass(COALESCE_MS);
    store.apply(BED, bed(1, T0 + 50, [], 'b2'));
    clock.pass(COALESCE_MS);
    expect(seen.resets).toBe(1);
    expect([...seen.beds].filter(([, view]) => view !== null).map(([key]) => key)).toEqual(['icu/A03']);
    expect(store.allOpen()).toEqual([]);
    expect(store.apply(`${BASE}/ward/icu/bed/A04/state`, { ...bed(10, T0 + 90), bed: 'A04' })).toBe(false);
  });

  it('takes the boot of a heartbeat even when the clock of the service went back', () => {
    const { store } = world();
    store.apply(BED, bed(9, T0));
    expect(store.apply(`${BASE}/sys/heartbeat`, beat(T0 - 3_600_000, 'b2'))).toBe(true);
    expect(store.view('icu/A03')).toBeNull();
  });

  it('does not let an older bed document bring back what an event has closed, nor take away what one has raised', () => {
    const { store } = world();
    store.apply(EVENT, event('cleared', 4, T0 + 100, alert('A-1')));
    store.apply(BED, bed(1, T0 + 50, [alert('A-1')]));
    expect(store.allOpen()).toEqual([]);
    store.apply(EVENT, event('raised', 1, T0 + 200, alert('A-2')));
    store.apply(BED, bed(2, T0 + 150, []));
    expect(store.allOpen().map((a) => a.id)).toEqual(['A-2']);
    store.apply(BED, bed(3, T0 + 250, []));
    expect(store.allOpen()).toEqual([]);
  });

  it('keeps a medium alert in sight as resolved for 60 s, a low one not', () => {
    const { clock, store } = world();
    store.apply(BED, bed(1, T0, [alert('A-1'), alert('A-2', 'low')]));
    store.apply(BED, bed(2, T0 + 1, []));
    expect(store.view('icu/A03')?.resolved.map((a) => a.id)).toEqual(['A-1']);
    clock.pass(RESOLVED_MS);
    store.tick();
    expect(store.view('icu/A03')?.resolved).toEqual([]);
  });

  it('never shows a value whose document is no longer valid', () => {
    const { clock, store } = world();
    store.apply(`${BASE}/sys/heartbeat`, beat(T0));
    store.apply(BED, bed(1, T0));
    clock.pass(151_000);
    store.tick();
    expect(store.view('icu/A03')).toMatchObject({ trust: 'nofeed', params: { hr: { value: null, trust: 'nofeed' } } });
  });

  it('shows null, never the last value, when vitals say that a value is not fresh', () => {
    const { store } = world();
    store.apply(BED, bed(1, T0));
    store.apply(`${BASE}/ward/icu/bed/A03/vitals`, vitals(T0 + 1_000, null));
    expect(store.view('icu/A03')?.params.hr).toMatchObject({ value: null, trust: 'stale', unit: '/min' });
  });

  it('tells of a case once a version, and of its end', () => {
    const { clock, store } = world();
    let told = 0;
    store.listen({ cases: () => void (told += 1) });
    const topic = `${BASE}/case/C-1/status`;
    const doc = (rev: number, version: number) => ({ schema: 'case-status/1', ts: '', ts_ms: T0 + rev, boot: 'b1', rev, site: 'hsp1', case: 'C-1', state: 'open', version });
    expect(store.apply(topic, doc(1, 1))).toBe(true);
    clock.pass(COALESCE_MS);
    expect([told, store.cases.get('C-1')]).toEqual([1, 1]);
    // Said again every minute: nothing is new.
    store.apply(topic, doc(2, 1));
    store.apply(topic, { ...doc(3, 9), case: 'C-2' });
    clock.pass(COALESCE_MS);
    expect(told).toBe(1);
    store.apply(topic, doc(4, 2));
    clock.pass(COALESCE_MS);
    expect([told, store.cases.get('C-1')]).toEqual([2, 2]);
    store.apply(topic, null);
    clock.pass(COALESCE_MS);
    expect([told, store.cases.size]).toEqual([3, 0]);
  });

  it('drops a bed at its tombstone, and after a reconnection what did not come again', () => {
    const { clock, store } = world();
    store.apply(BED, bed(1, T0, [alert('A-1')]));
    store.apply(`${BASE}/ward/icu/bed/A04/state`, { ...bed(1, T0), bed: 'A04' });
    store.apply(BED, null);
    expect(store.view('icu/A03')).toBeNull();
    expect(store.allOpen()).toEqual([]);
    store.beginSnapshot();
    store.cancelSnapshot();
    clock.pass(SNAPSHOT_MS);
    store.tick();
    expect(store.view('icu/A04')).not.toBeNull();
    store.beginSnapshot();
    store.apply(BED, bed(1, T0));
    clock.pass(SNAPSHOT_MS);
    store.tick();
    expect(store.view('icu/A04')).toBeNull();
    expect(store.view('icu/A03')).not.toBeNull();
  });

  it('keeps engineers\' and folded alerts off the ward, physiology on it', () => {
    const { store } = world();
    store.apply(BED, bed(1, T0, [alert('A-1', 'info', { assessment: 'unverified' }), alert('A-2', 'low', { because: 'A-9' }), alert('A-3', 'info', { assessment: 'physiology' })]));
    const view = store.view('icu/A03');
    expect(view?.alerts.map((a) => a.id)).toEqual(['A-3']);
    expect(view?.others.map((a) => a.id).sort()).toEqual(['A-1', 'A-2']);
  });

  it('sorts by unacknowledged, priority, onset', () => {
    const { store } = world();
    store.apply(BED, bed(1, T0, [alert('A-1', 'high', { state: 'acknowledged' }), alert('A-2', 'low'), alert('A-3', 'medium'), alert('A-4', 'medium', { onset: '2020' })]));
    expect(store.allOpen().map((a) => a.id)).toEqual(['A-4', 'A-3', 'A-2', 'A-1']);
  });

  it('has beds in the order of the ward document, for ever', () => {
    const { store } = world();
    const ward = (rev: number, beds: string[]) => ({ schema: 'ward-state/1', ts: '', ts_ms: T0, boot: 'b1', rev, site: 'hsp1', ward: 'icu', part: 0, parts: 1, beds: beds.map((name) => ({ bed: name, trust: 'plausible', rev: 1, alerts: 0 })) });
    store.apply(BED, bed(1, T0));
    store.apply(`${BASE}/ward/icu/state`, ward(1, ['A01', 'A02', 'A03']));
    store.apply(`${BASE}/ward/icu/bed/A09/state`, { ...bed(1, T0), bed: 'A09' });
    expect(store.layout()).toEqual([{ ward: 'icu', beds: ['A01', 'A02', 'A03', 'A09'] }]);
  });

  it('has wards by name, in whatever order they arrive', () => {
    for (const order of [['icu', 'ccu'], ['ccu', 'icu']]) {
      const { store } = world();
      for (const ward of order) store.apply(`${BASE}/ward/${ward}/bed/A01/state`, { ...bed(1, T0), ward, bed: 'A01' });
      expect(store.layout().map(({ ward }) => ward)).toEqual(['ccu', 'icu']);
    }
  });

  it('lets no refused document stand in the way of a true one', () => {
    const { store } = world();
    expect(store.apply(BED, bed(1, T0))).toBe(true);
    for (const wrong of [{ params: 7 }, { active: {} }, { trust: '<b>x</b>' }, { bed: 'A04' }, { ward: 'ccu' }]) expect(store.apply(BED, { ...bed(900, T0 + 1), ...wrong })).toBe(false);
    expect(store.apply(BED, bed(2, T0 + 2, [alert('a')]))).toBe(true);
    expect(store.view('icu/A03')?.trust).toBe('untrusted');
  });

  it('opens no bed for the end of an alert', () => {
    const { store } = world();
    store.apply(`${BASE}/sys/heartbeat`, beat(T0));
    store.apply(EVENT, event('expired', 4, T0 + 1, alert('a')));
    expect(store.layout()).toEqual([]);
    expect(store.view('icu/A03')).toBeNull();
  });

  it('names the revision of a bed only where its document shows the alert', () => {
    const { store } = world();
    store.apply(BED, bed(4, T0));
    store.apply(EVENT, event('raised', 1, T0 + 1, alert('a')));
    expect(store.seenRev(alert('a'))).toBeUndefined();
    store.apply(BED, bed(5, T0 + 2, [alert('a')]));
    expect(store.seenRev(alert('a'))).toBe(5);
    expect(store.seenRev(alert('a', 'high'))).toBeUndefined();
  });

  it('survives documents of any shape', () => {
    const { store } = world();
    for (const payload of [1, 'x', [], {}, { ts_ms: 1 }, { ts_ms: 1, boot: 'b1' }, { ts_ms: 1, boot: 'b1', active: 3, params: null }, { ts_ms: 1, boot: 'b1', alert: {} }])
      for (const topic of [BED, EVENT, `${BASE}/ward/icu/state`, `${BASE}/ward/icu/bed/A03/vitals`]) expect(store.apply(topic, payload)).toBe(false);
  });
});

describe('liveness', () => {
  it('is connecting, then live with a heartbeat', () => {
    const life = new Liveness(0);
    expect(life.health(100)).toBe('closed');
    life.opened();
    expect(life.health(100)).toBe('connecting');
    life.heartbeat(200, 0);
    expect(life.health(300)).toBe('live');
    life.closed();
    expect(life.health(301)).toBe('closed');
  });

  it('is silent after 7 s, and not live after 15 s without a heartbeat although other messages come', () => {
    const life = new Liveness(0);
    life.opened();
    for (let now = 0; now <= 20_000; now += 500) life.tick(now), life.received(now);
    expect(life.health(20_000)).toBe('heartbeat');
    life.heartbeat(20_000, 0);
    for (let now = 20_500; now <= 27_500; now += 500) life.tick(now);
    expect(life.health(27_500)).toBe('silent');
  });

  it('after a freeze is live again only with a heartbeat that is fresh', () => {
    const life = new Liveness(0);
    life.opened();
    life.heartbeat(0, 0);
    life.tick(30_000);
    life.heartbeat(30_001, 29_000);
    expect(life.health(30_002)).toBe('frozen');
    life.heartbeat(30_003, 100);
    expect(life.health(30_004)).toBe('live');
  });

  it('believes offline at once', () => {
    const life = new Liveness(0);
    life.opened();
    life.heartbeat(0, 0);
    life.status(false);
    expect(life.health(10)).toBe('offline');
  });
});

describe('ring', () => {
  it('keeps the last ten minutes and leaves gaps as they are', () => {
    const ring = new Ring();
    ring.push(5_000_000, 70);
    ring.push(5_020_000, 80);
    const out = ring.read(5_020_000, new Float32Array(RING_POINTS));
    expect([...out.slice(-5)]).toEqual([70, NaN, NaN, NaN, 80]);
    ring.read(9_000_000, out);
    expect(out.every(Number.isNaN)).toBe(true);
  });
});

// Cases as the service tells them: the list, with what runs, and steps. Read again when a case's status says that it has changed, and
// after each own step; every half minute only where statuses do not come to this user.

import { untrack } from 'svelte';
import { call, get, HttpError } from './api';
import type { Text } from './documents';
import { live } from './live.svelte';
import { ui } from './ui.svelte';

export interface By {
  user: string;
  at: string;
}
export type Mark = 'official' | 'secondary' | 'unverified' | 'own';
export interface Clock {
  id: string;
  kind: string;
  form: string;
  regime: Text;
  term: Text;
  condition: Text;
  source: Text;
  mark: Mark;
  note?: Text;
  information: boolean;
  starts_at: string;
  due_at: string;
  confirmed_by: string;
  confirmed_at: string;
  state: { is: 'running' | 'withdrawn' | 'filed'; at?: string; by?: string };
}
export interface Short {
  id: string;
  state: 'open' | 'closed';
  version: number;
  title: string;
  opened: By;
  updated: string;
  closed: (By & { by?: By; reason?: string }) | null;
  items: number;
  alerts: string[];
  clocks: Clock[];
}
export type Item = { number: number; by: By; item: string } & Record<string, unknown>;
export interface Case {
  id: string;
  state: 'open' | 'closed';
  version: number;
  title: string;
  opened: By;
  updated: string;
  items: Item[];
  notes: { by: By; text: string }[];
  fields: Record<string, { by: By; value: string }>;
  confirmations: { kind: string; known_since: string; by: By; withdrawn?: { by: By; reason: string } }[];
  filings: { by: By; form: string; reference: string }[];
  exports: { by: By; bundle: string; identified: boolean; sha256: string }[];
  closed?: { by: By; reason: string; keep_until: string };
  released?: { by: By; reason: string };
}
export interface StepRow {
  sequence: number;
  version: number;
  at: string;
  user: string;
  via: string;
  step: { step: string } & Record<string, unknown>;
}
export interface Whole {
  case: Case;
  clocks: Clock[];
  steps: StepRow[];
}
export interface Field {
  key: string;
  label: Text;
  entry: 'text' | 'lines' | 'date' | 'time' | 'count' | 'yes_no' | 'choice';
  chars_max: number;
  choices?: ({ id: string } & Text)[];
  hint?: Text;
}
export interface Forms {
  fields: Field[];
  kinds: string[];
  forms: { id: string; title: Text; addressee: Text; condition: Text }[];
}

/** What can be added to a case. */
export type Addition =
  | { item: 'alert'; id: string }
  | { item: 'messages'; raw: string[] }
  | { item: 'range'; ward: string; bed: string; from: string; to: string }
  | { item: 'spot_check' | 'action'; sequence: number }
  | { item: 'device'; id: string };

/** After a step, and what could not be gathered. */
export interface Done {
  case: Case;
  missing: string[];
}

/** Largest capture, bytes. */
export const CAPTURE_BYTES_MAX = 64 * 1_048_576;
/** Longest time of a bed, ms. */
export const RANGE_MS_MAX = 6 * 3_600_000;
const EVERY_MS = 30_000;

/** What went wrong, in the reader's language: who was first, and when. `adding`: it may be the thing that is not there. */
export function fault(error: unknown, adding = false): string {
  const { t } = ui;
  if (!(error instanceof HttpError) || error.status === 0) return t.error.network;
  const { code, by, at } = error.problem as { code?: string; by?: string | null; at?: string | null };
  const when = ui.when(at ?? undefined);
  if (code === 'CLOSED') return t.cases.refused.closed(by ?? '–', when);
  if (code === 'STALE') return t.cases.refused.stale(when);
  if (code === 'CONFIRMED') return t.cases.refused.confirmed(by ?? '–', when);
  if (code === 'NOT_CONFIRMED') return t.cases.refused.notConfirmed;
  if (code === 'KNOWN') return t.cases.refused.known;
  if (code === 'OPEN') return t.cases.refused.open;
  if (code === 'TOO_MANY') return t.cases.refused.tooMany;
  if (error.status === 413) return t.cases.refused.tooLarge;
  if (error.status === 507) return t.cases.refused.full;
  if (error.status === 403) return t.error.forbidden;
  if (error.status === 404) return adding ? t.cases.refused.nothing : t.cases.gone;
  return `${t.error.http(error.status)} ${error.detail}`.trim();
}

class Cases {
  list = $state.raw<Short[]>([]);
  /** Why the list is not what it should be; empty: it is. */
  trouble = $state('');
  loaded = $state(false);
  private began = false;
  private loading: Promise<void> | undefined;
  private again = false;

  /** Nurses and engineers read; a wall does not. */
  readonly mayRead = $derived(live.phase === 'running' && live.session !== undefined && live.session.role !== 'viewer' && !ui.kiosk);
  /** Terms that run, the nearest first, with their case. */
  readonly running = $derived(
    this.list
      .flatMap((one) => one.clocks.filter((clock) => clock.state.is === 'running' && !clock.information).map((clock) => ({ case: one.id, clock })))
      .sort((a, b) => Date.parse(a.clock.due_at) - Date.parse(b.clock.due_at)),
  );

  readonly open = $derived(this.list.filter((one) => one.state === 'open'));

  begin(): void {
    if (this.began) return;
    this.began = true;
    setInterval(() => {
      if (!this.follows()) void this.load();
    }, EVERY_MS);
  }

  /** Whether what changes is told without being asked for. */
  follows(): boolean {
    return live.session?.case_events === true && live.kind !== 'none';
  }

  /** Statuses have come: read again where one is of a version that was not read. */
  heard(told: ReadonlyMap<string, number>): void {
    untrack(() => {
      const known = new Map(this.list.map((one) => [one.id, one.version]));
      if (this.loaded && [...told].some(([id, version]) => (known.get(id) ?? 0) < version)) void this.load();
    });
  }

  /** One reading at a time; a wish meanwhile brings another one after it. */
  async load(): Promise<void> {
    this.again = true;
    this.loading ??= (async () => {
      while (this.again) {
        this.again = false;
        await this.read();
      }
      this.loading = undefined;
    })();
    await this.loading;
  }

  private async read(): Promise<void> {
    if (!this.mayRead) {
      this.list = [];
      this.loaded = false;
      return;
    }
    try {
      this.list = (await get<{ cases: Short[] }>('/api/v1/cases')).cases;
      this.trouble = '';
      this.loaded = true;
    } catch (error) {
      this.trouble = fault(error);
    }
  }

  whole(id: string): Promise<Whole> {
    return get<Whole>(`/api/v1/cases/${encodeURIComponent(id)}`);
  }

  /** Puts something into an open case. */
  add(id: string, item: Addition, expect?: number): Promise<Done> {
    return call<Done>('POST', `/api/v1/cases/${encodeURIComponent(id)}/steps`, { expect, step: { step: 'add', item } }, 20_000);
  }

  /** A capture's file; `name` is the one in the case. */
  capture(id: string, name: string, file: Blob): Promise<Done> {
    return call<Done>('PUT', `/api/v1/cases/${encodeURIComponent(id)}/captures/${encodeURIComponent(name)}`, file, 180_000);
  }

  /** A step on the version that the person saw. */
  async step(of: Case, step: { step: string } & Record<string, unknown>): Promise<Case> {
    const done = await call<{ case: Case }>('POST', `/api/v1/cases/${encodeURIComponent(of.id)}/steps`, { expect: of.version, step }, 15_000);
    return done.case;
  }

  /** A new one: of an alert with what belongs to it, or of a title alone. */
  async begun(wish: { alert: string } | { title: string }): Promise<Case> {
    const done = await call<Done>('POST', '/api/v1/cases', wish, 20_000);
    await this.load();
    return done.case;
  }
}

export const cases = new Cases();

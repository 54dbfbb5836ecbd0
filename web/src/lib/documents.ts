// The documents of the outgoing contract, as far as this page reads them. A consumer ignores what it does not know.

export type Trust = 'plausible' | 'learning' | 'questioned' | 'untrusted' | 'stale' | 'nofeed' | 'off';
export type Priority = 'high' | 'medium' | 'low' | 'info';
export type AlertState = 'active' | 'acknowledged' | 'shelved' | 'latched' | 'cleared';
export type Assessment = 'tamper' | 'identity' | 'artefact' | 'unit' | 'silence' | 'physiology' | 'advisory' | 'unverified';
export type Lang = 'en' | 'it';
export type Text = Partial<Record<Lang, string>>;

export const TRUSTS: readonly Trust[] = ['plausible', 'learning', 'questioned', 'untrusted', 'stale', 'nofeed', 'off'];
export const PRIORITIES: readonly Priority[] = ['high', 'medium', 'low', 'info'];
export const ASSESSMENTS: readonly Assessment[] =
  ['tamper', 'identity', 'artefact', 'unit', 'silence', 'physiology', 'advisory', 'unverified'];

export interface Param {
  /** The received value in the canonical unit; null: not fresh. */
  value: number | null;
  unit?: string;
  trust: Trust;
  age_ms?: number;
  last_ts?: string;
  band?: [number, number];
  code?: string;
  name?: string;
  conditions?: string[];
}

export interface Evidence {
  check: string;
  class: string;
  score: number;
  text: Text;
  value?: number | null;
  limit?: number | null;
  unit?: string;
  window_s?: number;
  msg_id?: string;
  obx_id?: number;
  raw?: string;
  effective_at?: string;
}

export interface Alert {
  id: string;
  ref: string;
  site: string;
  ward: string;
  bed: string;
  condition: string;
  assessment: Assessment;
  priority: Priority;
  state: AlertState;
  params: string[];
  onset: string;
  raised: string;
  updated: string;
  ended?: string;
  cleared?: string;
  count: number;
  confidence: number;
  text: Text;
  action: Text;
  args?: Record<string, number>;
  evidence: Evidence[];
  acked?: { user: string; at: string; via: string; comment?: string };
  shelved?: { user: string; until: string; reason: string };
  cause_of?: string[];
  because?: string;
  model?: string;
  device?: string;
  href?: string;
  /** Over HTTP only, by role. */
  comment?: string;
  comments?: { user: string; at: string; text: string }[];
  by?: { user: string; via: string };
}

interface Common {
  schema: string;
  ts: string;
  ts_ms: number;
  boot?: string;
  rev?: number;
  valid_until?: string;
  site: string;
  replay?: { run: string; source: string };
}

export interface BedState extends Common {
  ward: string;
  bed: string;
  trust: Trust;
  priority?: Priority;
  learning: boolean;
  params: Record<string, Param>;
  active: Alert[];
  device?: { id: string; advisories: number; model?: string };
}

export interface WardState extends Common {
  ward: string;
  part: number;
  parts: number;
  beds: { bed: string; trust: Trust; rev: number; alerts: number; priority?: Priority; unacked?: number }[];
}

export interface Vitals extends Common {
  ward: string;
  bed: string;
  trust: Trust;
  params: Record<string, Pick<Param, 'value' | 'trust' | 'age_ms'>>;
}

export interface AlertEvent extends Common {
  event: 'raised' | 'updated' | 'acknowledged' | 'unacknowledged' | 'shelved' | 'unshelved' | 'escalated' | 'lowered' | 'cleared'
    | 'expired';
  seq: number;
  ward: string;
  bed: string;
  alert: Alert;
  by?: { user: string; via: string; comment?: string };
  cause?: string;
}

export interface Heartbeat extends Common {
  beds: Partial<Record<Trust, number>>;
  alerts: Partial<Record<Priority, number>>;
  lag_ms?: { p50: number; p99: number };
  outbox: number;
  dropped: Record<string, number>;
}

export interface SysStatus extends Common {
  state: 'online' | 'offline';
}

export interface SysInfo extends Common {
  version: string;
  build: string;
  config: string;
  model: string;
  checks: string;
  languages: Lang[];
  journal?: { records: number; head: string; signer?: { name: string; key: string } };
  retained?: { limit: number; expected: number };
}

/** What a station follows of a case; its words come over HTTP. */
export interface CaseStatus extends Common {
  case: string;
  state: 'open' | 'closed';
  version: number;
}

export interface FeedStatus extends Common {
  feed: string;
  state: 'up' | 'degraded' | 'down';
  peer?: string;
  rate_per_s?: number;
  last_message_ts?: string;
  skew_ms?: number;
  counts: { received: number; aa: number; ae: number; ar: number; duplicates: number; out_of_order: number };
  wards: string[];
}

/** One record of either transport. */
export interface Delivery {
  topic: string;
  payload: unknown;
}

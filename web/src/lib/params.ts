// Parameter keys of the contract, as a person reads them.

import type { Strings } from '../lang/en';
import type { BedView } from './store';
import type { Param, Trust } from './documents';

/** Keys in the order of every list. */
export const PARAMS = [
  'hr', 'pr', 'spo2', 'rr', 'awrr', 'etco2', 'abp_sys', 'abp_dia', 'abp_mean', 'nibp_sys', 'nibp_dia', 'nibp_mean', 'temp', 'temp_skin',
  'pap_sys', 'pap_dia', 'pap_mean', 'cvp', 'icp',
] as const;

type LabelKey = keyof Strings['label'];

/** `abp` of `abp_sys`; the key itself where it is no pressure of three. */
export function family(key: string): string {
  return key.replace(/_(sys|dia|mean)$/, '');
}

export function isParam(key: string): boolean {
  return (PARAMS as readonly string[]).includes(key);
}

/** Short label; a site's own one goes first. */
export function label(key: string, t: Strings, own?: Record<string, string>): string {
  return own?.[key] ?? t.label[key as LabelKey] ?? key;
}

/** Label with systolic, diastolic or mean where that is meant. */
export function longLabel(key: string, t: Strings, own?: Record<string, string>): string {
  const of = /_(sys|dia|mean)$/.exec(key)?.[1] as keyof Strings['part'] | undefined;
  return own?.[key] ?? (of ? `${label(family(key), t, own)} ${t.part[of]}` : label(key, t, own));
}

const UNITS: Record<string, string> = { '/min': '/min', '%': '%', 'mm[Hg]': 'mmHg', Cel: '°C', kPa: 'kPa' };

/** A UCUM unit as it is printed. */
export function unitText(unit: string | undefined): string {
  if (unit === undefined) return '';
  return UNITS[unit] ?? unit.replace(/[{}]/g, '');
}

/** Unit of a parameter where no document says one. */
export function unitOf(key: string): string {
  if (key === 'spo2') return '%';
  if (key.startsWith('temp')) return '°C';
  return key === 'hr' || key === 'pr' || key === 'rr' || key === 'awrr' ? '/min' : 'mmHg';
}

/** Colour token of a parameter. */
export function tone(key: string): string {
  const of = family(key);
  if (of === 'hr' || of === 'pr') return 'hr';
  if (of === 'spo2') return 'spo2';
  if (of === 'rr' || of === 'awrr' || of === 'etco2') return 'rr';
  return of.startsWith('temp') ? 't' : 'abp';
}

/** One number of a tile. */
export interface Shown {
  key: string;
  tone: string;
  text: string;
  trust: Trust;
  fresh: boolean;
  /** Time of the last value by the service's clock, ms. */
  at?: number;
}

const WORST: Trust[] = ['off', 'untrusted', 'questioned', 'stale', 'nofeed', 'learning', 'plausible'];

function worse(a: Trust, b: Trust): Trust {
  return WORST.indexOf(a) <= WORST.indexOf(b) ? a : b;
}

/** What stands for a value that is no longer fresh: the bedside convention. */
export const INVALID = '-?-';

export type NumberFormat = (value: number, key: string) => string;

function at(view: BedView, param: Param): number | undefined {
  if (param.last_ts !== undefined) return Date.parse(param.last_ts);
  return param.age_ms === undefined ? undefined : view.ts - param.age_ms;
}

function one(view: BedView, key: string, format: NumberFormat): Shown | undefined {
  const param = view.params[key];
  if (!param) return undefined;
  const fresh = param.value !== null;
  return { key, tone: tone(key), text: param.value === null ? INVALID : format(param.value, key), trust: param.trust, fresh, at: at(view, param) };
}

function pressure(view: BedView, of: string, format: NumberFormat): Shown | undefined {
  const sys = one(view, `${of}_sys`, format);
  const dia = one(view, `${of}_dia`, format);
  const mean = one(view, `${of}_mean`, format);
  const first = sys ?? dia;
  if (!first) return mean ? { ...mean, key: of, text: mean.fresh ? `(${mean.text})` : INVALID } : undefined;
  const fresh = (sys?.fresh ?? false) || (dia?.fresh ?? false);
  const text = fresh ? `${sys?.text ?? INVALID}/${dia?.text ?? INVALID}` : INVALID;
  return { key: of, tone: 'abp', text, trust: worse(sys?.trust ?? 'plausible', dia?.trust ?? 'plausible'), fresh, at: first.at };
}

/** The five numbers of a tile; never another source under the same label, so each carries its own key. */
export function shown(view: BedView, format: NumberFormat): Shown[] {
  const pick = (keys: string[]): Shown | undefined => {
    const all = keys.flatMap((key) => one(view, key, format) ?? []);
    return all.find((param) => param.fresh) ?? all[0];
  };
  const abp = pressure(view, 'abp', format);
  const nibp = pressure(view, 'nibp', format);
  // The heart rate keeps its place even when it is stale: a pulse is another quantity and has its own label.
  const hr = one(view, 'hr', format) ?? one(view, 'pr', format);
  return [hr, one(view, 'spo2', format), pick(['rr', 'awrr']), abp ?? nibp, pick(['temp', 'temp_skin'])].filter((s) => s !== undefined);
}

// The filters of the Alerts page live in the URL; the same members go to the service.

import type { Alert } from './documents';

export const FILTERS = ['ward', 'bed', 'priority', 'assessment', 'condition', 'from', 'to', 'ref'] as const;
export type Filters = Partial<Record<(typeof FILTERS)[number], string>>;
export type List = 'open' | 'all' | 'engineering';

export function listOf(query: URLSearchParams): List {
  const list = query.get('list');
  return list === 'all' || list === 'engineering' ? list : 'open';
}

export function filtersOf(query: URLSearchParams): Filters {
  const filters: Filters = {};
  for (const name of FILTERS) {
    const value = query.get(name);
    if (value) filters[name] = value;
  }
  return filters;
}

/** `2026-11-22T18:00` of a person's own zone as the service wants it. */
export function instant(local: string | undefined): string | undefined {
  const at = local === undefined ? NaN : Date.parse(local);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

/** The members of the service's query. */
export function wanted(filters: Filters, list: List): Record<string, string | undefined> {
  return { ...filters, from: instant(filters.from), to: instant(filters.to), ...(list === 'engineering' && !filters.priority ? { priority: 'info' } : {}) };
}

/** The same choice among what is open now. */
export function matches(alert: Alert, filters: Filters): boolean {
  const from = instant(filters.from);
  const to = instant(filters.to);
  return (!filters.ward || alert.ward === filters.ward)
    && (!filters.bed || alert.bed === filters.bed)
    && (!filters.priority || alert.priority === filters.priority)
    && (!filters.assessment || alert.assessment === filters.assessment)
    && (!filters.condition || alert.condition.toLowerCase().startsWith(filters.condition.toLowerCase()))
    && (!filters.ref || alert.ref.toLowerCase() === filters.ref.toLowerCase())
    && (from === undefined || alert.onset >= from)
    && (to === undefined || alert.onset <= to);
}

/** Of engineers only: one kind of evidence, or for information; physiology is the ward's. */
export function isForEngineers(alert: Alert): boolean {
  return alert.assessment === 'unverified' || (alert.priority === 'info' && alert.assessment !== 'physiology');
}

// What `/api/v1/trends` answers, and how it becomes charts.

import { family } from './params';
import type { Priority } from './documents';

export interface Series {
  unit: string;
  value: (number | null)[];
  low?: (number | null)[];
  high?: (number | null)[];
  min?: (number | null)[];
  max?: (number | null)[];
}

export interface Trends {
  /** ms since 1970 */
  from: number;
  to: number;
  step_s: number;
  t: number[];
  params: Record<string, Series>;
  alerts: { id: string; params: string[]; onset: number | string; ended: number | string | null; priority: Priority; condition?: string }[];
}

export interface Stretch {
  id: string;
  /** s since 1970 */
  from: number;
  to: number;
  priority: Priority;
  condition?: string;
}

const ms = (at: number | string): number => (typeof at === 'number' ? at : Date.parse(at));

/** Charts by family of parameter (`abp` has three lines), in the order of `keys`. */
export function families(keys: readonly string[]): { family: string; keys: string[] }[] {
  const groups: { family: string; keys: string[] }[] = [];
  for (const key of keys) {
    const of = family(key);
    const group = groups.find((known) => known.family === of);
    if (group) group.keys.push(key);
    else groups.push({ family: of, keys: [key] });
  }
  return groups;
}

/** Where a check fired on one of `keys` (a condition without parameters is of the whole bed), within the window; an open alert lasts until `to`. */
export function stretches(trends: Trends, keys: string[]): Stretch[] {
  return trends.alerts
    .filter((alert) => alert.params.length === 0 || alert.params.some((param) => keys.includes(param)))
    .map((alert) => ({
      id: alert.id,
      from: Math.max(trends.from, ms(alert.onset)) / 1_000,
      to: Math.min(trends.to, alert.ended === null ? Infinity : ms(alert.ended)) / 1_000,
      priority: alert.priority,
      condition: alert.condition,
    }))
    .filter((stretch) => stretch.to > stretch.from);
}

/** Lowest, highest and last of the values there are. */
export function extent(values: (number | null)[]): { low: number; high: number; last: number } | undefined {
  const there = values.filter((value) => value !== null);
  const last = there.at(-1);
  return last === undefined ? undefined : { low: Math.min(...there), high: Math.max(...there), last };
}

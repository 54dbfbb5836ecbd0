// How many columns a wall has, and what a tile says when it is read aloud.

import type { Strings } from '../lang/en';
import type { Alert } from './documents';
import type { BedView } from './store';
import { isAcknowledged } from './store';

export type Density = 'full' | 'medium' | 'compact';

export function density(beds: number): Density {
  return beds <= 40 ? 'full' : beds <= 100 ? 'medium' : 'compact';
}

/** Smallest and largest tile, rem, and the shape that reads best. */
const TILE = {
  full: { width: 13.4, height: 11.6, widest: 27, highest: 19, shape: 1.55 },
  medium: { width: 11.4, height: 7.5, widest: 19, highest: 11, shape: 1.6 },
  compact: { width: 4.1, height: 3.1, widest: 8, highest: 6, shape: 1.3 },
} as const;

export interface Grid {
  columns: number;
  /** px */
  height: number;
  /** px */
  width: number;
}

/** The grid that shows `count` tiles best in `width` x `height` px; where they do not fit it scrolls. */
export function grid(kind: Density, count: number, width: number, height: number, rem: number, gap: number): Grid {
  const size = TILE[kind];
  const most = Math.max(1, Math.floor((width + gap) / (size.width * rem + gap)));
  let best: Grid | undefined;
  let bestScore = -Infinity;
  for (let columns = 1; columns <= Math.min(most, Math.max(1, count)); columns += 1) {
    const rows = Math.ceil(count / columns);
    const w = Math.min((width + gap) / columns - gap, size.widest * rem);
    const h = Math.min((height + gap) / rows - gap, size.highest * rem);
    const fits = h >= size.height * rem;
    const shown = Math.max(h, size.height * rem);
    // Fits first; then the largest tile whose shape is near the good one.
    const score = (fits ? 10 : columns / most) + Math.min(w, shown * size.shape) / width - Math.abs(Math.log(w / shown / size.shape)) * 0.2;
    if (score > bestScore) {
      bestScore = score;
      best = { columns, height: Math.floor(shown), width: Math.floor(w) };
    }
  }
  return best ?? { columns: 1, height: size.height * rem, width };
}

/** Whether values may be manipulated while the patient may be deteriorating. */
export function bothAtOnce(view: BedView): boolean {
  return view.alerts.some((alert) => alert.assessment === 'physiology') && view.alerts.some((alert) => alert.assessment === 'tamper');
}

/** The sentence of the strip: the worst alert. */
export function sentence(view: BedView, top: Alert | undefined, t: Strings, pick: (alert: Alert) => string): string {
  if (bothAtOnce(view)) return t.both;
  if (!top) return '';
  return top.state === 'latched' ? `${t.ward.ended}: ${pick(top)}` : pick(top);
}

/** `Bed A03, NOT TRUSTED, High: HR and SpO₂ not changing for 41 s: values may be replayed`. */
export function spokenName(view: BedView, top: Alert | undefined, said: string, extra: string[], t: Strings): string {
  const parts = [t.ward.bed(view.bed), t.trust[view.trust], ...extra];
  if (!top) return parts.join(', ');
  const state = top.state === 'shelved' ? `, ${t.spoken.shelved}` : isAcknowledged(top) ? `, ${t.spoken.acknowledged}` : '';
  const by = top.acked ? ` ${t.spoken.by(top.acked.user)}` : '';
  const more = view.alerts.length > 1 ? ` (+${view.alerts.length - 1})` : '';
  return `${parts.join(', ')}, ${t.spoken[top.priority]}: ${said}${state}${by}${more}`;
}

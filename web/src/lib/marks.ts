import type { Alert, Priority, Trust } from './documents';

/** One icon for each trust, beside its word. */
export const ICON: Record<Trust, string> = { plausible: '✓', learning: '…', questioned: '?', untrusted: '✕', stale: '⏱\uFE0E', nofeed: '⌀', off: '—' };

export const MARK: Record<Priority, string> = { high: '!!!', medium: '!!', low: '!', info: '✓✓' };

export function mark(alert: Alert): string {
  return alert.priority === 'info' && alert.assessment !== 'physiology' ? 'i' : MARK[alert.priority];
}

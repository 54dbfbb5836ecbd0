// Times as a field for date and time has them: of the browser's own zone.

/** `2026-11-22T18:00:05`, or empty. */
export function localSecond(ms: number): string {
  const at = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return Number.isNaN(at.getTime()) ? '' : at.toISOString().slice(0, 19);
}

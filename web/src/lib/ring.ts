/** Points of a sparkline and the time between them: ten minutes. */
export const RING_POINTS = 120;
export const RING_STEP_MS = 5_000;

/** The last ten minutes of one number, one place each 5 s, in memory that never grows. A place without a value is NaN. */
export class Ring {
  readonly values = new Float32Array(RING_POINTS).fill(NaN);
  private slot = -1;

  /** `at` in ms. Within one place the newest value stays; older than the newest place is not kept. */
  push(at: number, value: number | null): void {
    const slot = Math.floor(at / RING_STEP_MS);
    if (slot < this.slot) return;
    this.advance(slot);
    if (value !== null) this.values[slot % RING_POINTS] = value;
  }

  /** Oldest to newest with the place of `at` as the last. */
  read(at: number, into: Float32Array): Float32Array {
    this.advance(Math.floor(at / RING_STEP_MS));
    for (let i = 0; i < RING_POINTS; i += 1) into[i] = this.values[(this.slot + 1 + i) % RING_POINTS] ?? NaN;
    return into;
  }

  private advance(slot: number): void {
    if (slot <= this.slot) return;
    if (this.slot < 0 || slot - this.slot >= RING_POINTS) this.values.fill(NaN);
    else for (let s = this.slot + 1; s <= slot; s += 1) this.values[s % RING_POINTS] = NaN;
    this.slot = slot;
  }
}

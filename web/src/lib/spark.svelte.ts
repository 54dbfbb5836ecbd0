// Sparklines, drawn by hand each 5 s, only where they are seen, and not at all on a machine that is too slow for them.

import { RING_POINTS, type Ring } from './ring';

/** Above this p95 of the frames the lines are switched off, ms. */
const FRAME_LIMIT_MS = 50;
const SAMPLE_EVERY_MS = 30_000;
const SAMPLE_FRAMES = 90;

class Spark {
  on = $state(true);
  private sampling = false;
  private sampledAt = -Infinity;
  private slow = 0;

  /** Looks at the frames for a moment, twice a minute. */
  sample(): void {
    const now = performance.now();
    if (document.hidden || this.sampling || now - this.sampledAt < SAMPLE_EVERY_MS) return;
    this.sampling = true;
    const spans: number[] = [];
    let last = now;
    const frame = (at: number): void => {
      spans.push(at - last);
      last = at;
      if (spans.length < SAMPLE_FRAMES && !document.hidden) requestAnimationFrame(frame);
      else this.judge(spans);
    };
    requestAnimationFrame(frame);
  }

  private judge(spans: number[]): void {
    this.sampling = false;
    this.sampledAt = performance.now();
    spans.sort((a, b) => a - b);
    const p95 = spans[Math.floor(spans.length * 0.95)] ?? 0;
    this.slow = p95 > FRAME_LIMIT_MS ? this.slow + 1 : 0;
    // Twice in a row: a single busy moment is not a slow machine.
    if (this.slow >= 2) this.on = false;
  }
}

export const spark = new Spark();

const points = new Float32Array(RING_POINTS);
/** Longest gap that a line crosses, points: a sender that speaks once a minute still has a line. */
const GAP_MAX = 13;

function line(context: CanvasRenderingContext2D, width: number, height: number, ring: Ring, at: number, colour: string, least: number): void {
  ring.read(at, points);
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    if (point < low) low = point;
    if (point > high) high = point;
  }
  if (low > high) return;
  const middle = (low + high) / 2;
  const half = Math.max(high - low, least) / 2;
  context.strokeStyle = colour;
  context.beginPath();
  let last = -Infinity;
  points.forEach((point, i) => {
    if (Number.isNaN(point)) return;
    const x = (i / (RING_POINTS - 1)) * width;
    const y = height / 2 - ((point - middle) / half) * (height / 2 - 2);
    if (i - last > GAP_MAX) context.moveTo(x, y);
    else context.lineTo(x, y);
    last = i;
  });
  context.stroke();
}

/** Two lines on one canvas, each in its own scale: the course, not the level. */
export function draw(canvas: HTMLCanvasElement, hr: Ring, spo2: Ring, at: number): void {
  const box = canvas.getBoundingClientRect();
  if (document.hidden || box.width === 0 || box.bottom < 0 || box.top > innerHeight) return;
  const scale = devicePixelRatio;
  const width = Math.round(box.width * scale);
  const height = Math.round(box.height * scale);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext('2d');
  if (!context) return;
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, width, height);
  context.lineWidth = 1.25 * scale;
  line(context, width, height, hr, at, style.getPropertyValue('--hr'), 16);
  line(context, width, height, spo2, at, style.getPropertyValue('--spo2'), 8);
}

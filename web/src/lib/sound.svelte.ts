// Sound, off until a person has switched it on: browsers play nothing before a click.

import type { Alert } from './documents';

const PAUSE_MS = 120_000;
/** A high alert sounds at most this often, ms. */
const HIGH_MS = 10_000;
const LOW_MS = 15_000;
const TONE_HZ = 880;

class Sound {
  state = $state<'on' | 'off' | 'paused' | 'blocked'>('off');
  /** What is left of a pause, ms. */
  left = $state(0);
  low = $state(false);
  private context: AudioContext | undefined;
  private pausedUntil = 0;
  private lastHigh = -Infinity;
  private lastLow = -Infinity;
  private readonly sounded = new Set<string>();

  /** From a click. */
  async enable(): Promise<void> {
    try {
      this.context ??= new AudioContext();
      await this.context.resume();
    } catch {
      this.state = 'blocked';
      return;
    }
    this.state = this.context.state === 'running' ? 'on' : 'blocked';
    if (this.state === 'on') this.pulses(1);
  }

  test(): void {
    this.pulses(3);
  }

  pause(): void {
    this.pausedUntil = performance.now() + PAUSE_MS;
    this.left = PAUSE_MS;
    this.state = 'paused';
  }

  resume(): void {
    this.state = this.context?.state === 'running' ? 'on' : 'blocked';
  }

  disable(): void {
    this.state = 'off';
  }

  /** Each second, with what nobody has acknowledged. */
  tick(unacked: readonly Alert[], alive: boolean): void {
    const now = performance.now();
    if (this.state === 'paused') {
      this.left = Math.max(0, this.pausedUntil - now);
      if (this.left === 0) this.resume();
    }
    if (this.state === 'on' && this.context?.state !== 'running') this.state = 'blocked';
    if (this.state !== 'on' || !alive) return;
    const fresh = unacked.filter((alert) => alert.priority === 'medium' && !this.sounded.has(alert.id));
    if (this.sounded.size > 2_000) this.sounded.clear();
    for (const alert of unacked) this.sounded.add(alert.id);
    if (unacked.some((alert) => alert.priority === 'high')) {
      if (now - this.lastHigh < HIGH_MS) return;
      this.lastHigh = now;
      this.pulses(5);
      this.pulses(5, 1.6);
    } else if (fresh.length > 0) this.pulses(3);
    else if (this.low && unacked.length > 0 && unacked.every((alert) => alert.priority === 'low') && now - this.lastLow >= LOW_MS) {
      this.lastLow = now;
      this.pulses(1);
    }
  }

  /** `delay` in s. */
  private pulses(count: number, delay = 0): void {
    const { context } = this;
    if (!context || context.state !== 'running') return;
    for (let i = 0; i < count; i += 1) {
      const start = context.currentTime + delay + 0.02 + i * 0.25;
      const tone = context.createOscillator();
      const volume = context.createGain();
      tone.frequency.value = TONE_HZ;
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(0.3, start + 0.02);
      volume.gain.setValueAtTime(0.3, start + 0.12);
      volume.gain.linearRampToValueAtTime(0, start + 0.15);
      tone.connect(volume).connect(context.destination);
      tone.start(start);
      tone.stop(start + 0.16);
    }
  }
}

export const sound = new Sound();

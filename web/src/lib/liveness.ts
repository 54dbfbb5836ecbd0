// Whether what is shown is alive. A frozen page must not look healthy.

/** Nothing received for longer than this: not live, ms. The heartbeat comes every 5 s. */
export const SILENT_MS = 7_000;
/** A gap in the page's own timer longer than this: the page was frozen, ms. */
export const FROZEN_MS = 5_000;
/** After a freeze only a heartbeat younger than this proves that the page is up to date, ms. */
export const FRESH_MS = 2_000;
/** A heartbeat older than this: not live, whatever `sys/status` says, ms. */
export const HEARTBEAT_MS = 15_000;

export type Health = 'connecting' | 'live' | 'closed' | 'silent' | 'frozen' | 'heartbeat' | 'offline';

/** Pure: every call brings the time of a clock that never jumps, ms. */
export class Liveness {
  /** When anything was received last. */
  receivedAt: number | undefined;
  private heartbeatAt: number | undefined;
  private open = false;
  private offline = false;
  private frozen = false;
  private tickedAt: number;

  constructor(private readonly startedAt: number) {
    this.tickedAt = startedAt;
  }

  opened(): void {
    this.open = true;
  }

  closed(): void {
    this.open = false;
  }

  received(now: number): void {
    this.tick(now);
    this.receivedAt = now;
  }

  /** `age`: of the heartbeat by the service's clock, ms. A heartbeat that waited while the page was frozen proves nothing. */
  heartbeat(now: number, age: number): void {
    this.received(now);
    this.heartbeatAt = now - Math.max(0, age);
    if (age < FRESH_MS) this.frozen = false;
  }

  status(online: boolean): void {
    this.offline = !online;
  }

  /** Every half second, by the page's timer. */
  tick(now: number): void {
    if (now - this.tickedAt > FROZEN_MS) this.frozen = true;
    this.tickedAt = now;
  }

  health(now: number): Health {
    if (this.frozen) return 'frozen';
    if (now - (this.receivedAt ?? this.startedAt) > SILENT_MS) return 'silent';
    if (this.offline) return 'offline';
    if (this.heartbeatAt === undefined) return now - this.startedAt > HEARTBEAT_MS ? 'heartbeat' : this.open ? 'connecting' : 'closed';
    if (now - this.heartbeatAt > HEARTBEAT_MS) return 'heartbeat';
    return this.open ? 'live' : 'closed';
  }
}

/** The whole page goes grey; a connection that has just closed shows in the chip and a banner first. */
export function isNotLive(health: Health): boolean {
  return health === 'silent' || health === 'frozen' || health === 'heartbeat' || health === 'offline';
}

// How documents reach this page: MQTT through the page's own origin, or directly from the service when MQTT is down.

import { call, requestId } from './api';
import type { Delivery } from './documents';
import type { Connection, Credentials } from './mqtt';

/** Without MQTT for this long: direct, ms. */
export const FALLBACK_MS = 3_000;
/** A broker that brings no heartbeat for this long has lost the service, ms. */
export const MQTT_SILENT_MS = 15_000;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 5_000;
const STATION_MS = 30_000;
const DOCUMENT_BYTES_MAX = 1 << 20;

export type Kind = 'mqtt' | 'direct' | 'none';

export interface LinkEvents {
  /** A connection that brings every retained document first. */
  opened(kind: Kind): void;
  closed(): void;
  changed(kind: Kind): void;
  deliver(topic: string, payload: unknown): void;
  /** The service refuses to talk: perhaps it no longer knows us. */
  refused(): void;
  /** What this station says about itself; `undefined`: it has no name that a topic can carry. */
  station(state: 'online' | 'offline'): { user: string; payload: string } | undefined;
}

const slug = /^[A-Za-z0-9_-]{1,32}$/;

export class Link {
  kind: Kind = 'none';
  private connection: Connection | undefined;
  private connected = false;
  private dialling = false;
  private source: EventSource | undefined;
  private sourceOpen = false;
  private retryMs = RETRY_MS;
  private retryAt = 0;
  private mqttLostAt: number;
  private mqttBeatAt = 0;
  private mqttOpenedAt = 0;
  private stationAt = 0;
  private stationTopic: string | undefined;
  private stopped = false;
  private readonly decoder = new TextDecoder();

  constructor(private readonly events: LinkEvents, private readonly root: string, private readonly site: string, private readonly mqttPossible: boolean,
    /** Whether cases are told to this user. */
    private readonly cases: boolean) {
    this.mqttLostAt = mqttPossible ? performance.now() : -FALLBACK_MS;
    this.tick();
  }

  /** Every half second. */
  tick(): void {
    if (this.stopped) return;
    const now = performance.now();
    if (this.mqttPossible && !this.connection && !this.dialling && now >= this.retryAt) void this.dial();
    const silent = this.connected && now - Math.max(this.mqttBeatAt, this.mqttOpenedAt) > MQTT_SILENT_MS;
    const down = silent || (!this.connected && now - this.mqttLostAt >= FALLBACK_MS);
    if (down && !this.source) this.openSource();
    if (this.source && this.connected && !silent && this.mqttBeatAt > this.mqttOpenedAt) this.closeSource();
    if (this.connected && now - this.stationAt > STATION_MS) this.announce();
  }

  /** Says again what this station is: its page, language or sound has changed. */
  announce(): void {
    this.stationAt = performance.now();
    const said = this.events.station('online');
    if (said && this.stationTopic && this.connected) this.connection?.publish(this.stationTopic, said.payload);
  }

  stop(): void {
    this.stopped = true;
    this.closeSource();
    this.connection?.end();
  }

  private settle(): void {
    const kind: Kind = this.sourceOpen ? 'direct' : this.connected ? 'mqtt' : 'none';
    if (kind === this.kind) return;
    this.kind = kind;
    this.events.changed(kind);
    if (kind === 'none') this.events.closed();
  }

  private take(topic: string, payload: unknown): void {
    this.events.deliver(topic, payload);
  }

  private async dial(): Promise<void> {
    this.dialling = true;
    try {
      const credentials = await call<Credentials & { user?: string }>('POST', '/api/v1/credentials', {}, 5_000);
      const { connect } = await import('./mqtt');
      if (this.stopped) return;
      const base = `${this.root}/v1/${this.site}`;
      const said = this.events.station('offline');
      const user = credentials.user ?? said?.user ?? '';
      this.stationTopic = said && slug.test(user) ? `${base}/station/${user}/status` : undefined;
      const connection = connect({
        url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/mqtt`,
        credentials: { ...credentials, client_id: credentials.client_id ?? requestId() },
        subscriptions: [
          [`${base}/sys/#`, 1], [`${base}/feed/#`, 1], [`${base}/ward/+/state/#`, 1], [`${base}/ward/+/bed/+/state`, 1],
          [`${base}/ward/+/bed/+/event/#`, 1], [`${base}/ward/+/bed/+/vitals`, 0], [`${base}/device/+/event`, 1], ...(this.cases ? [[`${base}/case/+/status`, 1] as [string, 1]] : []),
        ],
        will: said && this.stationTopic ? { topic: this.stationTopic, payload: said.payload } : undefined,
        opened: () => {
          this.connected = true;
          this.retryMs = RETRY_MS;
          this.mqttOpenedAt = performance.now();
          this.mqttBeatAt = 0;
          this.events.opened('mqtt');
          this.settle();
          this.announce();
        },
        closed: () => {
          if (this.connected) this.mqttLostAt = performance.now();
          this.connected = false;
          this.connection = undefined;
          this.later();
          this.settle();
        },
        message: (topic, bytes) => {
          if (topic.endsWith('/sys/heartbeat')) this.mqttBeatAt = performance.now();
          if (bytes.length === 0) return this.take(topic, null);
          if (bytes.length > DOCUMENT_BYTES_MAX) return;
          try {
            this.take(topic, JSON.parse(this.decoder.decode(bytes)));
          } catch {
            // Not a document.
          }
        },
      });
      // It may have ended while it was being made.
      this.connection = connection;
    } catch {
      this.later();
    } finally {
      this.dialling = false;
    }
  }

  private later(): void {
    this.retryAt = performance.now() + this.retryMs;
    this.retryMs = Math.min(this.retryMs * 2, RETRY_MAX_MS);
  }

  private openSource(): void {
    const source = new EventSource('/api/v1/events');
    this.source = source;
    source.onopen = () => {
      this.sourceOpen = true;
      this.events.opened('direct');
      this.settle();
    };
    source.onerror = () => {
      this.sourceOpen = false;
      this.settle();
      // A refusal is final for the browser; we ask again.
      if (source.readyState === EventSource.CLOSED) {
        this.source = undefined;
        this.mqttLostAt = performance.now();
        this.events.refused();
      }
    };
    source.onmessage = (event: MessageEvent<string>) => readRecords(event.data, (topic, payload) => this.take(topic, payload));
  }

  private closeSource(): void {
    this.source?.close();
    this.source = undefined;
    this.sourceOpen = false;
    this.settle();
  }
}

/** `[{"topic","payload"}]`, of either tree. */
export function readRecords(text: string, take: (topic: string, payload: unknown) => void): void {
  let records: unknown;
  try {
    records = JSON.parse(text);
  } catch {
    return;
  }
  for (const record of (Array.isArray(records) ? records : [records]) as Partial<Delivery>[])
    if (typeof record?.topic === 'string') take(record.topic, record.payload ?? null);
}

// The MQTT client, a chunk of its own, loaded when the page connects.

import mqtt from 'mqtt';

export interface Credentials {
  username?: string;
  password?: string;
  client_id?: string;
  root: string;
  site: string;
}

export interface Connection {
  publish(topic: string, payload: string): void;
  end(): void;
}

export interface Wishes {
  url: string;
  credentials: Credentials;
  /** In this order, each answered before the next; QoS 0 or 1. */
  subscriptions: [filter: string, qos: 0 | 1][];
  will?: { topic: string; payload: string };
  opened(): void;
  closed(): void;
  message(topic: string, payload: Uint8Array): void;
}

/** One connection, always clean, never resumed: after its end the caller makes a new one with new credentials. */
export function connect(wishes: Wishes): Connection {
  const { credentials, will } = wishes;
  const client = mqtt.connect(wishes.url, {
    protocolVersion: 5,
    clean: true,
    reconnectPeriod: 0,
    connectTimeout: 5_000,
    keepalive: 20,
    // Its other timer is a worker from a blob, which the page's policy forbids.
    timerVariant: 'native',
    clientId: credentials.client_id,
    username: credentials.username,
    password: credentials.password,
    properties: { receiveMaximum: 1_000, maximumPacketSize: 1 << 20 },
    will: will && { topic: will.topic, payload: will.payload as unknown as Buffer, qos: 1, retain: true },
  });
  let over = false;
  const end = (): void => {
    if (over) return;
    over = true;
    client.end(true);
    wishes.closed();
  };
  client.on('message', (topic, payload) => wishes.message(topic, payload));
  client.on('connect', () => {
    wishes.opened();
    void (async () => {
      for (const [filter, qos] of wishes.subscriptions) {
        try {
          await client.subscribeAsync(filter, { qos });
        } catch {
          // Refused for this account: what it may read comes by the others. A lost connection ends all of them.
          if (over) return;
        }
      }
    })();
  });
  client.on('close', end);
  client.on('error', end);
  return {
    publish: (topic, payload) => void client.publish(topic, payload, { qos: 1, retain: true }, () => {}),
    end,
  };
}

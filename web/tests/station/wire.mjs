// A subscriber of the broker that holds every message it sees against its schema.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import mqtt from 'mqtt';

const SCHEMAS = join(import.meta.dirname, '../../../models/schemas');
const ajv = new Ajv2020({ allErrors: false, strict: false });
addFormats(ajv);
const checks = new Map();
for (const file of readdirSync(SCHEMAS)) {
  if (file === 'asyncapi.json' || !file.endsWith('.json')) continue;
  const name = file.replace(/-(\d+)\.json$/, '/$1').replace(/\.json$/, '');
  checks.set(name, ajv.compile(JSON.parse(readFileSync(join(SCHEMAS, file), 'utf8'))));
}

/** What is wrong with a document by the schema of that name; empty: nothing. */
export const unfit = (name, document) => { const check = checks.get(name); return check(document) ? '' : ajv.errorsText(check.errors); };

/** Over all subscribers of this run. */
export const seen = { messages: 0, kinds: new Map(), wrong: [] };

const KIND = [
  [/\/sys\/(status|info)$/, (m) => `sys-${m[1]}/1`], [/\/sys\/heartbeat$/, () => 'heartbeat/1'], [/\/feed\/[^/]+\/status$/, () => 'feed-status/1'],
  [/\/ward\/[^/]+\/state(\/\d+)?$/, () => 'ward-state/1'], [/\/bed\/[^/]+\/state$/, () => 'bed-state/1'], [/\/bed\/[^/]+\/event\/(high|medium|low|info)$/, () => 'alert-event/1'],
  [/\/bed\/[^/]+\/vitals$/, () => 'vitals/1'], [/\/bed\/[^/]+\/flat$/, () => 'flat'], [/\/device\/[^/]+\/event$/, () => 'device-event/1'], [/\/case\/[^/]+\/status$/, () => 'case-status/1'],
  [/\/station\/[^/]+\/status$/, () => 'station-status/1'], [/\/cmd\/[^/]+\/([a-z-]+)$/, (m) => `command-${m[1]}/1`], [/\/rsp\/[^/]+\/[^/]+$/, () => 'response/1'],
];

/** What the topic promises, checked. */
export function judge(topic, payload) {
  seen.messages += 1;
  const rule = KIND.find(([pattern]) => pattern.test(topic));
  const kind = rule?.[1](rule[0].exec(topic));
  seen.kinds.set(kind ?? 'unknown', (seen.kinds.get(kind ?? 'unknown') ?? 0) + 1);
  const wrong = (why) => { if (seen.wrong.length < 50) seen.wrong.push(`${topic}: ${why}`); };
  const check = checks.get(kind);
  if (!check) return void wrong('no schema belongs to this topic');
  let document;
  try { document = JSON.parse(payload); } catch { return void wrong('not JSON'); }
  if (!check(document)) wrong(`${kind} ${ajv.errorsText(check.errors)}: ${payload.slice(0, 300)}`);
  if (kind === 'flat' || kind.startsWith('command')) return document;
  if (document.schema !== kind) wrong(`says ${document.schema}`);
  return document;
}

export class Wire {
  /** `judged: false` for topics on which a test itself puts rubbish. */
  static async open(port, { user, password, tls, filter = 'vitalguard/#', version = 5, qos = 1 } = {}) {
    const wire = new Wire();
    Object.assign(wire, { messages: [], retained: new Map(), bytes: 0, text: [], watchers: new Set() });
    wire.client = mqtt.connect(`${tls ? 'mqtts' : 'mqtt'}://localhost:${port}`, { protocolVersion: version, clean: true, reconnectPeriod: 300, username: user, password, ca: tls && readFileSync(tls), family: 4, properties: version === 5 ? { receiveMaximum: 1000 } : undefined });
    wire.client.on('error', () => {});
    wire.client.on('message', (topic, payload, packet) => wire.#take(topic, payload, packet));
    await new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error('the broker does not take this subscriber')), 10_000);
      wire.client.once('connect', () => { clearTimeout(timer); done(); });
    });
    await wire.client.subscribeAsync(filter, { qos });
    return wire;
  }

  #take(topic, payload, packet) {
    const at = Date.now();
    const text = payload.toString();
    this.bytes += payload.length;
    if (payload.length === 0) { this.retained.delete(topic); this.messages.push({ at, topic, document: null }); return; }
    const document = judge(topic, text);
    if (!/\/(event(\/|$)|heartbeat|vitals|flat|rsp\/|cmd\/)/.test(topic)) this.retained.set(topic, document);
    if (!/\/vitals$/.test(topic)) this.messages.push({ at, topic, document, retain: packet.retain });
    if (this.keep) this.text.push(topic, text);
    for (const watcher of this.watchers) watcher(topic, document, at);
  }

  state(ward, bed) { return this.retained.get([...this.retained.keys()].find((topic) => topic.endsWith(`/ward/${ward}/bed/${bed}/state`))); }
  events(bed) { return this.messages.filter(({ topic }) => topic.includes(`/bed/${bed}/event/`)).map(({ document, at, topic }) => ({ ...document, at, topic })); }
  of(part) { return this.messages.filter(({ topic }) => topic.includes(part)); }
  end() { this.client.end(true); }
}

/** Every lifecycle event of every alert: `seq` without gaps from 1 on, within what one subscriber saw. */
export function gaps(wire) {
  const last = new Map();
  const out = [];
  for (const { topic, document } of wire.messages) {
    if (!topic.includes('/event/') || !document?.alert || topic.includes('/device/')) continue;
    const before = last.get(document.alert.id) ?? document.seq - 1;
    if (document.seq === before) continue;
    if (document.seq !== before + 1) out.push(`${document.alert.id}: ${before} then ${document.seq}`);
    last.set(document.alert.id, document.seq);
  }
  return { out, alerts: last.size };
}

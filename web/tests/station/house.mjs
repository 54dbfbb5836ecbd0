// The real programs: `vitalguard serve` and mosquitto on free ports of this machine, each in a folder of its own.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const BINARY = resolve(process.env.VITALGUARD ?? join(import.meta.dirname, '../../../target/debug/vitalguard'));
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

const folders = [];
const children = new Set();

export function folder(name) {
  const path = mkdtempSync(join(tmpdir(), `vitalguard-${name}-`));
  folders.push(path);
  return path;
}

/** What this run has started and made. */
export function cleanUp() {
  for (const child of children) child.kill('SIGKILL');
  for (const path of folders) rmSync(path, { recursive: true, force: true });
}

let nextPort = process.pid * 97;

/** A port that is free now, below those that the system gives to whoever asks for any (from 32768 on Linux). */
export async function freePort() {
  for (;;) {
    const port = 20_000 + (nextPort++ % 12_000);
    const server = createServer();
    const free = await new Promise((done) => server.once('error', () => done(false)).listen(port, '127.0.0.1', () => done(true)));
    if (!free) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
}

/** Waits until `ask` gives something; `ask` may fail until then. */
export async function until(what, ask, timeout = 20_000, every = 50) {
  const end = Date.now() + timeout;
  let last = '';
  for (;;) {
    try {
      const found = await ask();
      if (found) return found;
    } catch (error) {
      last = ` (${error.message})`;
    }
    if (Date.now() > end) throw new Error(`waited ${timeout / 1000} s in vain for ${what}${last}`);
    await sleep(every);
  }
}

const opens = (port) => new Promise((done) => {
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => { socket.destroy(); done(true); });
  socket.once('error', () => done(false));
});

function start(program, args, options) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  children.add(child);
  child.ended = new Promise((done) => child.once('exit', (code, signal) => { children.delete(child); done(signal ?? code); }));
  child.once('error', () => {});
  return child;
}

/** `vitalguard serve`. `head` stands before the first table of its configuration, `config` after the listeners. */
export class Service {
  constructor({ name = 'house', head = '', config = '', feeds = [['gw', 'main']], url = '', users = [] }) {
    Object.assign(this, { name, head, config, feeds, url, users });
    this.folder = folder(name);
    this.log = '';
  }

  static async start(options) {
    const service = new Service(options);
    service.ports = { mqtt: await freePort(), http: await freePort(), mllp: await Promise.all(service.feeds.map(() => freePort())) };
    await service.begin();
    return service;
  }

  write() {
    const users = this.users.map(([name, role, password]) => `[[mqtt.users]]\nname = "${name}"\nrole = "${role}"\npassword_sha256 = "${sha256(password)}"\n`).join('');
    const feeds = this.feeds.map(([feed, ward], i) => `[[mllp]]\nfeed = "${feed}"\nlisten = "127.0.0.1:${this.ports.mllp[i]}"\nward = "${ward}"\n`).join('');
    const broker = this.url || `[mqtt]\nlisten = "127.0.0.1:${this.ports.mqtt}"\n`;
    this.file = join(this.folder, 'vitalguard.toml');
    writeFileSync(this.file, `site = "hsp1"\n${this.head}\n${feeds}${broker}${users}[http]\nlisten = "127.0.0.1:${this.ports.http}"\n${this.config}`);
  }

  async begin() {
    this.write();
    this.child = start(BINARY, ['serve', '--config', this.file, '--data', join(this.folder, 'data')]);
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => (this.log += text));
    let over;
    void this.child.ended.then((how) => (over = how));
    await until(`${this.name} to listen`, async () => {
      if (over !== undefined) throw Object.assign(new Error(`it ended: ${this.log}`), { over });
      return this.log.includes('listening http') && opens(this.ports.http);
    }, 40_000).catch((error) => { throw new Error(`${error.message}\n${this.log}`); });
  }

  get base() { return `http://127.0.0.1:${this.ports.http}`; }
  kill(signal = 'SIGKILL') { this.child.kill(signal); return this.child.ended; }
  async again() { this.log = this.log.replaceAll('listening http', 'listened http'); await this.begin(); }

  /** A session of `user`: cookie and token, as a page has them. */
  async session(user, password) {
    if (!user) {
      const answer = await fetch(`${this.base}/api/v1/session`);
      return this.#kept(answer);
    }
    const answer = await fetch(`${this.base}/api/v1/session`, { method: 'POST', headers: { 'Content-Type': 'application/json', Origin: this.base }, body: JSON.stringify({ user, password }) });
    if (answer.status !== 200) throw new Error(`log-in of ${user}: ${answer.status} ${await answer.text()}`);
    return this.#kept(answer);
  }

  async #kept(answer) {
    const { csrf } = await answer.json();
    const cookie = (answer.headers.getSetCookie?.() ?? []).map((line) => line.split(';')[0]).join('; ');
    return async (method, path, body) => {
      const response = await fetch(this.base + path, { method, headers: { Cookie: cookie, Origin: this.base, 'X-CSRF-Token': csrf ?? '', ...(body ? { 'Content-Type': 'application/json' } : {}) }, body: body && JSON.stringify(body) });
      const text = await response.text();
      let json;
      try { json = JSON.parse(text); } catch { /* not every answer is JSON */ }
      return { status: response.status, text, json, headers: response.headers };
    };
  }
}

/** mosquitto with names and passwords, rules by topic and, where `tls`, certificates: never with persistence. */
export class Mosquitto {
  static async start({ users = {}, acl = '', tls = false, extra = '' } = {}) {
    const broker = new Mosquitto();
    Object.assign(broker, { port: await freePort(), folder: folder('mosquitto') });
    const at = (name) => join(broker.folder, name);
    let text = `user root\npersistence false\nlistener ${broker.port} 127.0.0.1\n${extra}\n`;
    if (tls) {
      const openssl = (...args) => run('openssl', args, { cwd: broker.folder });
      await openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '3', '-subj', '/CN=Invented authority');
      await openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
      writeFileSync(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
      await openssl('x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'server.pem', '-days', '2', '-extfile', 'names');
      text += `certfile ${at('server.pem')}\nkeyfile ${at('server.key')}\ntls_version tlsv1.2\n`;
    }
    if (Object.keys(users).length > 0) {
      writeFileSync(at('passwords'), '');
      for (const [name, password] of Object.entries(users)) await run('mosquitto_passwd', ['-b', at('passwords'), name, password]);
      writeFileSync(at('acl'), acl);
      text += `allow_anonymous false\npassword_file ${at('passwords')}\nacl_file ${at('acl')}\n`;
    } else text += 'allow_anonymous true\n';
    writeFileSync(at('mosquitto.conf'), text);
    broker.tls = tls ? at('ca.pem') : undefined;
    await broker.begin();
    return broker;
  }

  async begin() {
    const program = existsSync('/usr/sbin/mosquitto') ? '/usr/sbin/mosquitto' : 'mosquitto';
    this.child = start(program, ['-c', join(this.folder, 'mosquitto.conf')]);
    this.log = '';
    this.child.stderr.on('data', (text) => (this.log = (this.log + text).slice(-4_000)));
    this.child.stdout.resume();
    await until('mosquitto', () => opens(this.port), 10_000).catch((error) => { throw new Error(`${error.message}\n${this.log}`); });
  }

  kill() { this.child.kill('SIGKILL'); return this.child.ended; }
  secret(name, text) { const path = join(this.folder, name); writeFileSync(path, text, { mode: 0o600 }); return path; }
}

export function tool(program, args) {
  const child = start(program, args);
  child.text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (child.text += text));
  return child;
}

export function made(path) { mkdirSync(path, { recursive: true }); return path; }

// A gateway of invented beds over MLLP, IHE PCD-01: every identity in it is made up.
import { connect } from 'node:net';
import { until } from './house.mjs';

const CODES = {
  hr: ['147842^MDC_ECG_HEART_RATE', '264864^MDC_DIM_BEAT_PER_MIN', '1.1.1.1'],
  rr: ['151562^MDC_RESP_RATE', '264928^MDC_DIM_RESP_PER_MIN', '1.2.1.1'],
  spo2: ['150456^MDC_PULS_OXIM_SAT_O2', '262688^MDC_DIM_PERCENT', '1.3.1.1'],
  pr: ['149530^MDC_PULS_OXIM_PULS_RATE', '264864^MDC_DIM_BEAT_PER_MIN', '1.3.1.2'],
  abp_sys: ['150037^MDC_PRESS_BLD_ART_ABP_SYS', '266016^MDC_DIM_MMHG', '1.5.1.1'],
  abp_mean: ['150039^MDC_PRESS_BLD_ART_ABP_MEAN', '266016^MDC_DIM_MMHG', '1.5.1.2'],
  abp_dia: ['150038^MDC_PRESS_BLD_ART_ABP_DIA', '266016^MDC_DIM_MMHG', '1.5.1.3'],
  temp: ['150344^MDC_TEMP', '268192^MDC_DIM_DEGC', '1.6.1.1'],
};

const stamp = (ms) => `${new Date(ms).toISOString().replace(/[-:TZ]/g, '')}+0000`;

/** A small reproducible source of chance. */
function chance(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class Bed {
  constructor(ward, bed, seed, more = {}) {
    Object.assign(this, { ward, bed, n: 0, history: [], paused: false, without: new Set(), change: undefined, application: 'INVENTED', name: 'Invented^Patient', record: `SYN-${bed}`, born: '', skew: 0, ...more });
    this.eui = `02D3A0FFFE${seed.toString(16).toUpperCase().padStart(6, '0')}`;
    this.random = chance(seed * 7919 + 17);
    this.level = { hr: 62 + (seed % 25), rr: 13 + (seed % 5), spo2: 97, sys: 118 + (seed % 15), temp: 36.6 };
    this.drift = { hr: 0, rr: 0, spo2: 0, sys: 0, temp: 0 };
  }

  get key() { return `${this.ward}/${this.bed}`; }

  values() {
    const step = (name, size, pull) => (this.drift[name] = this.drift[name] * pull + (this.random() + this.random() + this.random() - 1.5) * size);
    const hr = this.level.hr + step('hr', 1.6, 0.93);
    const sys = this.level.sys + step('sys', 2.6, 0.9);
    const dia = sys * 0.6 + 2 * (this.random() - 0.5);
    const spo2 = Math.min(100, this.level.spo2 + step('spo2', 0.7, 0.9));
    const shown = {
      hr: Math.round(hr), rr: Math.round(this.level.rr + step('rr', 1.1, 0.85)), spo2: Math.round(spo2), pr: Math.round(hr + 1.4 * (this.random() - 0.5)),
      abp_sys: Math.round(sys), abp_mean: Math.round(dia + (sys - dia) / 3 + (this.random() - 0.5)), abp_dia: Math.round(dia),
      temp: Math.round((this.level.temp + step('temp', 0.03, 0.98)) * 10) / 10,
    };
    this.change?.(shown, this.n);
    for (const key of this.without) delete shown[key];
    return shown;
  }

  /** How long a display that shows `text` has been behind this bed, ms. */
  behind(text, at) {
    const last = this.history.findLastIndex(([sent, shown]) => sent <= at && shown === text);
    const next = last < 0 ? this.history[0] : this.history[last + 1];
    return next === undefined || next[0] > at ? 0 : at - next[0];
  }

  /** The next message, or with `id` one that bears it; `change` alters the values of this one. */
  message({ id, values, more = '' } = {}) {
    this.n += id ? 0 : 1;
    this.id = id ?? `${this.bed}-${this.n}`;
    const shown = values ?? this.values();
    this.history.push([Date.now(), `${shown.hr} ${shown.spo2}`]);
    if (this.history.length > 30) this.history.shift();
    const at = Date.now() + this.skew;
    const lines = Object.entries(shown).map(([key, value], i) => `OBX|${i + 2}|NM|${CODES[key][0]}^MDC|${CODES[key][2]}|${value}|${CODES[key][1]}^MDC|||||R|||${stamp(at)}||||${this.eui}^^${this.eui}^EUI-64\r`);
    return `MSH|^~\\&|${this.application}^${this.eui}^EUI-64|HOSP|||${stamp(at)}||ORU^R01^ORU_R01|${this.id}|P|2.6|||NE|AL||UNICODE UTF-8|||PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r`
      + `PID|||${this.record}^^^HOSP^MR||${this.name}${this.born ? `||${this.born}` : ''}\rPV1||I|${this.ward}^^${this.bed}\r`
      + `OBR|1|${this.id}^SYNTH|${this.id}^SYNTH|182777000^monitoring of patient^SCT|||${stamp(at)}\r`
      + `OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||${this.eui}^^${this.eui}^EUI-64\r${lines.join('')}${more}`;
  }
}

/** One connection: messages go out in order, answers are counted. */
export class Line {
  static async open(port) {
    const line = new Line();
    Object.assign(line, { sent: 0, answers: [], faults: [], buffer: Buffer.alloc(0), waits: [] });
    line.socket = connect(port, '127.0.0.1');
    line.socket.setNoDelay(true);
    await new Promise((done, fail) => { line.socket.once('connect', done); line.socket.once('error', fail); });
    line.socket.on('error', () => {});
    line.socket.on('data', (bytes) => line.#take(bytes));
    return line;
  }

  #take(bytes) {
    this.buffer = Buffer.concat([this.buffer, bytes]);
    for (;;) {
      const end = this.buffer.indexOf('\x1c\r', 0, 'latin1');
      if (end < 0) return;
      const said = /\rMSA\|(..)\|/.exec(this.buffer.subarray(0, end).toString('latin1'))?.[1] ?? '??';
      this.buffer = this.buffer.subarray(end + 2);
      this.answers.push(said);
      if (!/^[AC]A$/.test(said)) this.faults.push(said);
      this.waits.shift()?.(said);
    }
  }

  /** Resolves with MSA-1. */
  send(message) {
    this.sent += 1;
    const answer = new Promise((done) => this.waits.push(done));
    if (!this.socket.destroyed) this.socket.write(Buffer.concat([Buffer.from([0x0b]), Buffer.from(message), Buffer.from([0x1c, 0x0d])]));
    return answer;
  }

  close() { this.socket.destroy(); }
}

/** Beds that each speak once a second over one connection, spread over the second. */
export class Gateway {
  static async start(port, beds, { hz = 1, lines = 1 } = {}) {
    const gateway = new Gateway();
    Object.assign(gateway, { port, beds, hz, count: lines });
    await gateway.open();
    gateway.play();
    return gateway;
  }

  async open() { this.lines = await Promise.all(Array.from({ length: this.count }, () => Line.open(this.port))); }

  play() {
    const due = this.beds.map((_, i) => Date.now() + (i * 1000) / this.hz / this.beds.length);
    this.timer = setInterval(() => {
      const now = Date.now();
      this.beds.forEach((bed, i) => {
        if (due[i] > now) return;
        due[i] = Math.max(due[i] + 1000 / this.hz, now - 2_000);
        if (!bed.paused) void this.line(bed).send(bed.message());
      });
    }, 20);
  }

  line(bed) { return this.lines[this.beds.indexOf(bed) % this.lines.length]; }
  bed(name) { return this.beds.find((bed) => bed.bed === name); }
  pause() { clearInterval(this.timer); }
  stop() { this.pause(); for (const line of this.lines) line.close(); }
  async reopen() { this.stop(); await until('the listener', async () => { await this.open(); return true; }); this.play(); }

  /** The id that was sent last comes again with other content: a message was changed on its way. */
  reuse(name) {
    const bed = this.bed(name);
    return this.line(bed).send(bed.message({ id: bed.id, values: { ...bed.values(), hr: 140 + Math.round(bed.random() * 20) } }));
  }

  /** Another sender reports the same bed. */
  async second(name, times = 4) {
    const own = this.bed(name);
    const other = new Bed(own.ward, own.bed, 5000 + this.beds.indexOf(own), { application: 'OTHER-RELAY', record: own.record, name: own.name });
    const line = await Line.open(this.port);
    for (let i = 0; i < times; i += 1) {
      await line.send(other.message({ id: `X${name}-${i}-${Date.now()}` }));
      await new Promise((done) => setTimeout(done, 500));
    }
    line.close();
  }
}

export const named = (ward, count, from = 0, more = {}) => Array.from({ length: count }, (_, i) => new Bed(ward, `${'ABCDEFGHIJ'[Math.floor(i / 20) % 10]}${String((i % 20) + 1).padStart(2, '0')}`, from + i + 1, more));

// A stand-in for the service, for the browser tests of this folder only: invented beds in every state, over the same interface.
// Nothing of it is in dist. Use: node tests/fixture.mjs [--port 4174] [--beds 24] [--login] [--role engineer] [--real http://127.0.0.1:8080 --mqtt 127.0.0.1:1883]
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { readFileSync, existsSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WebSocketServer } from 'ws';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const CSP = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const BASE = 'vitalguard/v1/hsp1';

/** `options`: beds, login, role, replay, hz; `real` and `mqtt` give a running service its missing parts instead. */
export async function serve(options = {}) {
  const { beds: count = 24, role = 'engineer', login = false, real, mqtt, hz = 1 } = options;
  let loggedIn = !login;
  let boot = `boot-${Date.now().toString(36)}`;
  let rev = 0;
  let beating = true;
  let speaking = true;
  const clients = new Set();
  const wardOf = (i) => (count <= 40 ? 'icu' : ['icu', 'ccu', 'med', 'surg', 'neo', 'step', 'er', 'pacu', 'nsu', 'card'][Math.floor(i / 20) % 10]);
  const names = Array.from({ length: count }, (_, i) => ({ ward: wardOf(i), bed: `${'ABCDEFGHIJ'[Math.floor(i / 20) % 10]}${String((i % 20) + 1).padStart(2, '0')}` }));
  const now = () => Date.now();
  const iso = (ms) => new Date(ms).toISOString();
  const common = (schema) => ({ schema, ts: iso(now()), ts_ms: now(), boot, site: 'hsp1' });
  const started = now();

  let number = 0;
  const make = (bed, condition, assessment, priority, params, age, en, it, more = {}) => {
    const onset = iso(started - age * 1000);
    const id = `A-${(number += 1).toString(16).padStart(12, '0')}-${onset.replace(/[-:.]/g, '')}`;
    return {
      id, ref: `${(0x1d00 + number).toString(16).toUpperCase()}-DB51`, site: 'hsp1', ward: names.find((n) => n.bed === bed)?.ward ?? (bed === '_site' ? '_site' : 'icu'), bed, condition, assessment, priority, state: 'active', params, onset, raised: onset, updated: onset, count: 1, confidence: 0.94,
      text: { en, it }, action: { en: 'Do not trust these values. Look at the patient and the bedside monitor. If they differ, call clinical engineering, quote 1D15-DB51.', it: "Non fidarsi di questi valori. Guardare il paziente e il monitor al letto. Se differiscono, chiamare l'ingegneria clinica e citare 1D15-DB51." },
      evidence: [
        { check: condition.slice(0, 3), class: 'liveness', score: 0.98, value: 41, limit: 9, unit: 's', window_s: 41, msg_id: '8841', obx_id: 1, raw: 'icu-gw1.184213', text: { en: `${en}; at most 9 s expected on this bed`, it: `${it}; atteso al massimo 9 s su questo letto` } },
        { check: 'P01', class: 'provenance', score: 1, value: 3, limit: 1, unit: '{messages}', window_s: 41, raw: 'icu-gw1.184214', text: { en: 'MSH-10 8841 received 3 times with different content', it: 'MSH-10 8841 ricevuto 3 volte con contenuto diverso' } },
      ],
      model: 'sha256:9f2c41d07ab3e816', href: `/api/v1/alerts/${id}`, ...more,
    };
  };
  const acked = { state: 'acknowledged', acked: { user: 'nurse7', at: iso(started), via: 'web' } };
  let open = [
    make('A03', 'T03 flat_line', 'tamper', 'high', ['hr', 'spo2'], 41, 'HR and SpO₂ not changing for 41 s: values may be replayed', 'FC e SpO₂ immutati da 41 s: possibili valori ripetuti'),
    make('A06', 'A07 hr_vs_pr', 'artefact', 'medium', ['hr', 'pr'], 18, 'HR 142 (ECG) but pulse 71 (SpO₂): double counting?', 'FC 142 (ECG) ma polso 71 (SpO₂): doppio conteggio?'),
    make('A08', 'L01 silence', 'silence', 'medium', [], 134, 'No data from monitor for 2 min 14 s', 'Nessun dato dal monitor da 2 min 14 s', acked),
    make('A10', 'L02 stale', 'silence', 'low', ['abp_sys', 'abp_dia'], 22, 'ABP not updated for 22 s', 'PA non aggiornata da 22 s'),
    make('A15', 'D04 temp_step', 'artefact', 'low', ['temp'], 363, 'Temp rose 4.8 °C in 10 s: probe?', 'Temp +4,8 °C in 10 s: sonda?', acked),
    make('A17', 'C02 hr_confirmed', 'physiology', 'info', ['hr'], 60, 'HR 168 confirmed by pulse 167 (SpO₂)', 'FC 168 confermata dal polso 167 (SpO₂)'),
    make('A03', 'D02 lattice', 'artefact', 'medium', ['hr'], 30, 'HR steps do not fit this monitor: 0.37 /min where 1 /min is expected', 'I passi della FC non sono di questo monitor: 0,37 /min dove è atteso 1 /min'),
    make('A11', 'U02 kpa', 'unit', 'medium', ['abp_sys', 'abp_dia', 'abp_mean'], 95, 'ABP 16.0/9.3 looks like kPa sent as mmHg: real pressure would be 120/70', 'PA 16,0/9,3 sembra kPa inviata come mmHg: la pressione vera sarebbe 120/70', { state: 'shelved', shelved: { user: 'nurse7', until: iso(now() + 600_000), reason: 'physiotherapy' } }),
    make('A12', 'D09 drift', 'unverified', 'info', ['spo2'], 900, 'SpO₂ drifts slowly against its own history', 'SpO₂ deriva lentamente rispetto alla propria storia'),
    make('_site', 'L09 no_station_listening', 'silence', 'medium', [], 10, 'No station has been listening for 10 s', 'Nessuna postazione in ascolto da 10 s'),
  ].filter((a) => a.bed.startsWith('_') || names.some((n) => n.bed === a.bed));

  const wave = (i, k, amp) => Math.round(amp * Math.sin(now() / 9000 + i * 1.7 + k));
  function params(name, i) {
    const has = (id) => count <= 200 && name.bed === id && i < 20;
    const p = (value, unit, band, code, trust = 'plausible', age = 300) => ({ value, unit, trust, age_ms: age, ...(band ? { band } : {}), code });
    const hr = has('A03') ? 72 : has('A06') ? 142 : has('A17') ? 168 : 68 + ((i * 7) % 30) + wave(i, 0, 3);
    const all = {
      hr: p(hr, '/min', [hr - 12, hr + 12], '147842'), spo2: p(has('A03') ? 98 : 96 + ((i + wave(i, 1, 1)) % 3 + 3) % 3, '%', [92, 100], '150456'), rr: p(13 + (i % 6), '/min', [11, 19], '151562'),
      abp_sys: p(118 + (i % 20) + wave(i, 2, 2), 'mm[Hg]', undefined, '150037'), abp_dia: p(72 + (i % 9), 'mm[Hg]', undefined, '150038'), temp: p(36.6 + (i % 6) / 10, 'Cel', undefined, '150344'),
    };
    if (i % 5 === 4) {
      delete all.abp_sys;
      delete all.abp_dia;
      all.nibp_sys = p(124, 'mm[Hg]', undefined, '150021', 'plausible', 700_000);
      all.nibp_dia = p(78, 'mm[Hg]', undefined, '150022', 'plausible', 700_000);
    }
    for (const a of open) if (a.ward === name.ward && a.bed === name.bed && a.assessment !== 'physiology' && a.assessment !== 'unverified') for (const key of a.params) if (all[key]) all[key].trust = a.priority === 'high' ? 'untrusted' : all[key].trust === 'untrusted' ? 'untrusted' : 'questioned';
    if (has('A08')) for (const key of Object.keys(all)) all[key] = { ...all[key], value: null, trust: 'nofeed', age_ms: now() - started + 134_000 };
    if (has('A10')) for (const key of ['abp_sys', 'abp_dia']) all[key] = { ...all[key], value: null, trust: 'stale', age_ms: now() - started + 22_000 };
    if (has('A15')) all.temp = { ...all.temp, value: 41.9 };
    return all;
  }
  const ORDER = ['untrusted', 'questioned', 'stale', 'learning', 'plausible'];
  function bedTrust(name, i, all) {
    if (name.bed === 'A20' && i < 20) return 'off';
    if (name.bed === 'A08' && i < 20) return 'nofeed';
    if (name.bed === 'A13' && i < 20) return 'learning';
    return ORDER.find((trust) => Object.values(all).some((param) => param.trust === trust)) ?? 'plausible';
  }
  const topic = (name, what) => `${BASE}/ward/${name.ward}/bed/${name.bed}/${what}`;
  function bedState(name, i) {
    const all = params(name, i);
    const active = open.filter((a) => a.ward === name.ward && a.bed === name.bed);
    return { topic: topic(name, 'state'), payload: { ...common('bed-state/1'), rev: (rev += 1), valid_until: iso(now() + 150_000), ward: name.ward, bed: name.bed, use: 'advisory', trust: bedTrust(name, i, all), learning: name.bed === 'A13', params: bedTrust(name, i, all) === 'off' ? {} : all, active, device: { id: `dev-${i}`, advisories: name.bed === 'B02' ? 1 : 0 } } };
  }
  function wardStates() {
    return [...new Set(names.map((n) => n.ward))].map((ward) => ({ topic: `${BASE}/ward/${ward}/state`, payload: { ...common('ward-state/1'), rev: (rev += 1), valid_until: iso(now() + 30_000), ward, use: 'advisory', part: 0, parts: 1, trust: {}, alerts: {}, unacked: {}, beds: names.filter((n) => n.ward === ward).map((n) => ({ bed: n.bed, trust: 'plausible', rev: 1, alerts: 0 })) } }));
  }
  const site = { ward: '_site', bed: '_site' };
  const siteState = () => ({ topic: topic(site, 'state'), payload: { ...common('bed-state/1'), rev: (rev += 1), valid_until: iso(now() + 150_000), ...site, use: 'advisory', trust: 'plausible', learning: false, params: {}, active: open.filter((a) => a.bed === '_site') } });
  const heartbeat = () => ({ topic: `${BASE}/sys/heartbeat`, payload: { ...common('heartbeat/1'), rev: (rev += 1), beds: {}, alerts: {}, lag_ms: { p50: 18, p99: 74 }, outbox: 0, dropped: {} } });
  const snapshot = () => [
    { topic: `${BASE}/sys/status`, payload: { ...common('sys-status/1'), state: 'online' } },
    { topic: `${BASE}/sys/info`, payload: { ...common('sys-info/1'), rev: 1, version: '1.0.0', build: 'fixture', config: 'sha256:b7d0c1a2e4f59680', model: 'sha256:9f2c', checks: 'sha256:51aa', languages: ['en', 'it'] } },
    heartbeat(), ...wardStates(), ...names.map(bedState), siteState(),
  ];
  const send = (records) => {
    if (!speaking || records.length === 0) return;
    const text = `data: ${JSON.stringify(records)}\n\n`;
    for (const client of clients) client.write(text);
  };
  const vitals = (name, i) => ({ topic: topic(name, 'vitals'), payload: { ...common('vitals/1'), ward: name.ward, bed: name.bed, trust: bedTrust(name, i, params(name, i)), params: Object.fromEntries(Object.entries(params(name, i)).map(([key, { value, trust, age_ms }]) => [key, { value, trust, age_ms }])) } });
  const seqs = new Map();
  function happen(event, alert, by) {
    const seq = (seqs.get(alert.id) ?? 1) + 1;
    seqs.set(alert.id, seq);
    const i = names.findIndex((n) => n.ward === alert.ward && n.bed === alert.bed);
    send([{ topic: topic(alert, `event/${alert.priority}`), payload: { ...common('alert-event/1'), event, seq, ward: alert.ward, bed: alert.bed, use: 'advisory', alert, by } }, i < 0 ? siteState() : bedState(names[i], i)]);
  }
  const timers = [];
  if (!real) {
    // A quarter of the beds each quarter of a second, as a real ward arrives.
    let turn = 0;
    timers.push(setInterval(() => send(names.flatMap((name, i) => (i % 4 === turn % 4 && bedTrust(name, i, params(name, i)) !== 'off' ? [vitals(name, i)] : [])), (turn += 1)), 250 / hz));
    timers.push(setInterval(() => beating && send([heartbeat()]), 5_000));
    timers.push(setInterval(() => send(names.map(bedState)), 60_000));
  }

  let runs = options.replay ? [{ run: '4be1c09a77d2', source: { file: 'icu-night.hl7' }, position_ms: 61_000, length_ms: 600_000, speed: 1, paused: false, loop: false, state: 'playing', alerts: [{ at_ms: 120_000, priority: 'high', text: { en: 'HR not changing for 41 s', it: 'FC immutata da 41 s' }, id: 'A-1' }, { at_ms: 300_000, priority: 'medium', text: { en: 'HR 142 (ECG) but pulse 71 (SpO₂)', it: 'FC 142 (ECG) ma polso 71 (SpO₂)' }, id: 'A-2' }] }] : [];
  const advisory = { id: 'ICSMA-25-030-01', title: 'Contec Health CMS8000 Patient Monitor (Update A)', published: '2025-01-30', match: 'exact', wording: 'The device declares the name of a product of this advisory.', matched: 'CMS8000', field: 'OBX-18', version_state: 'not_declared', status: 'open' };
  const session = () => ({ user: login ? 'nurse7' : 'local', role, csrf: 'fixture', auth: login ? 'password' : 'local', site: real ? 'demo' : 'hsp1', root: 'vitalguard', languages: ['en', 'it'], language: 'en', build: 'fixture', version: '1.0.0', names: role !== 'viewer', phone: 'int. 4410', tolerances: { hr: 10 }, wards: [], mqtt: Boolean(mqtt), case_events: role !== 'viewer' });
  const commands = {
    ack: (a, body, user) => ({ ...a, ...acked, acked: { user, at: iso(now()), via: 'web' } }), unack: (a) => ({ ...a, state: 'active', acked: undefined }),
    shelve: (a, body, user) => (a.priority === 'high' ? undefined : { ...a, state: 'shelved', shelved: { user, until: iso(now() + body.minutes * 60_000), reason: body.reason } }), unshelve: (a) => ({ ...a, state: 'active', shelved: undefined }), comment: (a, body) => ({ ...a, comment: body.comment }), rate: (a) => a,
  };
  const EVENTS = { ack: 'acknowledged', unack: 'unacknowledged', shelve: 'shelved', unshelve: 'unshelved', comment: 'updated', rate: 'updated' };

  function api(method, path, query, body) {
    const part = path.split('/').slice(3).map(decodeURIComponent);
    if (part[0] === 'session') {
      if (method === 'DELETE') return (loggedIn = !login), [204];
      if (method === 'POST') {
        if (body?.password !== 'secret') return [401, { title: 'Unauthorized', status: 401 }];
        loggedIn = true;
      }
      return loggedIn ? [200, session()] : [401, { title: 'Unauthorized', status: 401, site: 'hsp1', language: 'en' }];
    }
    if (!loggedIn) return [401, { status: 401 }];
    if (part[0] === 'cmd') {
      const verb = part[1];
      const user = session().user;
      const ok = { schema: 'response/1', request_id: body.request_id, verb, status: 'ok' };
      if (verb === 'spot-check') return [200, { ...ok, compared: Object.entries(body.values).map(([param, bedside]) => ({ param, bedside, feed: 72, age_ms: 300, tolerance: 10, agrees: Math.abs(bedside - 72) <= 10 })) }];
      if (verb === 'selftest') {
        setTimeout(() => send([{ topic: topic({ ward: '_site', bed: '_selftest' }, 'state'), payload: { ...bedState(site, 0).payload, ward: '_site', bed: '_selftest', active: [] } }]), 60);
        return [200, { ...ok, hops: [{ name: 'mllp', ms: 1.2 }, { name: 'judged', ms: 2.9 }, { name: 'mqtt', ms: 9.4 }] }];
      }
      if (!commands[verb]) return [200, ok];
      const at = open.findIndex((a) => a.id === body.alert);
      const changed = at < 0 ? undefined : commands[verb](open[at], body, user);
      if (!changed) return [200, { ...ok, status: 'rejected', code: at < 0 ? 'NOT_FOUND' : 'FORBIDDEN' }];
      open[at] = changed;
      happen(EVENTS[verb], changed, { user, via: 'web' });
      return [200, { ...ok, alert: changed.id, alert_state: changed.state }];
    }
    if (part[0] === 'names') return [200, { name: 'Example Patient', record: '000000', expires_s: 120 }];
    if (part[0] === 'alerts' && part.length === 1) {
      const closed = make('A04', 'T03 flat_line', 'artefact', 'medium', ['spo2'], 7_200, 'SpO₂ not changing for 50 s', 'SpO₂ immutata da 50 s', { id: 'A-closed', state: 'cleared', cleared: iso(started - 7_000_000), comment: 'probe off, replaced' });
      number -= 1;
      return [200, { alerts: [...open, closed].filter((a) => (!query.get('bed') || a.bed === query.get('bed')) && (!query.get('priority') || a.priority === query.get('priority'))), next: null }];
    }
    if (part[0] === 'alerts') return [200, { id: part[1], explain: true }];
    if (part[0] === 'trends') {
      const [from, to, step] = ['from', 'to', 'step'].map((key) => Number(query.get(key)));
      const t = [];
      for (let at = Math.ceil(from / (step * 1000)) * step * 1000; at <= to; at += step * 1000) t.push(at);
      const base = { hr: 72, spo2: 97, rr: 15, abp_sys: 120, abp_dia: 74, temp: 36.8, nibp_sys: 124, nibp_dia: 78 };
      const flat = now() - 41_000;
      const out = {};
      for (const key of (query.get('params') ?? '').split(',').filter((key) => base[key])) {
        const value = t.map((at, k) => (k % 37 > 34 ? null : at > flat && (key === 'hr' || key === 'spo2') ? base[key] : Math.round((base[key] + 3 * Math.sin(at / 40_000) + Math.sin(at * 7)) * 10) / 10));
        out[key] = { unit: { spo2: '%', temp: 'Cel', hr: '/min', rr: '/min' }[key] ?? 'mm[Hg]', value, low: t.map((at) => base[key] - 8 + Math.sin(at / 90_000)), high: t.map((at) => base[key] + 8 + Math.sin(at / 90_000)), min: value, max: value };
      }
      return [200, { from, to, step_s: step, t, params: out, alerts: open.filter((a) => a.bed === part[2]).map((a) => ({ id: a.id, params: a.params, onset: a.onset, ended: null, priority: a.priority })) }];
    }
    if (part[0] === 'messages') {
      const obx = 'OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.7.4.147842|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||20261122182407.400+0100';
      return [200, { raw: part[1], feed: 'icu-gw1', received: iso(now()), msg_id: '8841', masked: true, segments: [{ text: 'MSH|^~\\&|GW|ICU|||20261122192407.412+0100||ORU^R01^ORU_R01|8841|P|2.6', name: 'MSH', index: 1 }, { text: 'PID|||***||***', name: 'PID', index: 2 }, { text: obx, name: 'OBX', index: 3, marks: [{ field: 5, start: obx.indexOf('|72|') + 1, end: obx.indexOf('|72|') + 3 }] }] }];
    }
    if (part[0] === 'devices' && method === 'PATCH') return (advisory.status = body.status), [200, {}];
    if (part[0] === 'devices') return [200, { data_date: '2026-09-30', known: 2, known_max: 65536, forgotten: 0, events_held: 0, devices: [{ device: 'dev-88d2', model: 'CMS8000', state: 'service', ward: 'icu', bed: 'B02', beds: ['icu/B02'], beds_more: false, peers: ['p-7be1'], peers_more: false, messages: 3000, rate_per_s: 1, skew_ms: -1400, first_seen: iso(started - 2e8), last_seen: iso(now() - 1000), versions: ['V1.2'], advisories: [advisory] }, { device: 'dev-5f1c', state: 'service', beds: ['icu/A03', 'icu/A04'], beds_more: true, peers: ['p-7be1'], peers_more: false, messages: 3000, rate_per_s: 24, first_seen: iso(started - 2e8), last_seen: iso(now() - 1000), versions: [], advisories: [] }] }];
    if (part[0] === 'feeds' && part[2] === 'rejects') return [200, { rejects: [{ at: iso(now() - 40_000), reason: 'OBX-5 is not a number', position: 412, segment: 'OBX|4|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC||9?|262688^MDC_DIM_PERCENT^MDC', raw: 'icu-gw1.184211' }, { at: iso(now() - 90_000), reason: 'no MSH', position: null, segment: null, raw: null }] }];
    if (part[0] === 'feeds') return [200, { feeds: [{ ...common('feed-status/1'), feed: 'icu-gw1', state: 'up', peer: 'p-7be1', rate_per_s: 24, last_message_ts: iso(now() - 300), skew_ms: -1400, counts: { received: 395211, aa: 395204, ae: 4, ar: 3, duplicates: 12, out_of_order: 0 }, wards: ['icu'], ack_p50_ms: 0.2, ack_p99_ms: 0.9, bytes_per_s: 31_000, parse_errors: 7 }], mqtt: { kind: 'embedded', up: true, since: iso(started), outbox: 0, dropped: 0, retained: 238, limit: 1000, stations: 3 }, alerts_per_bed_day: 0.4, useful_share: 0.71, beds: names.slice(0, 6).map((n, i) => ({ ...n, alerts_per_day: i / 3 })) }];
    if (part[0] === 'replay' && method === 'POST') return (runs = [{ run: 'abc123def456', source: body.source, position_ms: 0, length_ms: 60_000, speed: body.speed, paused: false, loop: body.loop, state: 'playing', alerts: [] }]), [200, runs[0]];
    if (part[0] === 'replay' && method === 'DELETE') return (runs = []), [204];
    if (part[0] === 'replay' && method === 'PATCH') return (runs = runs.map((run) => ({ ...run, ...body, position_ms: body.seek_ms ?? run.position_ms }))), [200, runs[0]];
    if (part[0] === 'replay') return [200, { runs, files: ['icu-night.hl7', 'transport.hl7'] }];
    if (part[0] === 'cases') return [200, part[1] === 'forms' ? { fields: [], kinds: [], forms: [] } : { cases: [] }];
    if (part[0] === 'about') return [200, { version: '1.0.0', build: '3f9c1d2', config: 'sha256:b7d0c1a2e4f59680', model: 'sha256:9f2c41d07ab3e816c0de5a1177b2904f6d83e1a05c4b7f29e6d10a8834cc57b1', checks: 'sha256:51aa0e7d3c9b2f48', checks_count: 63, licences: [{ name: 'serde', version: '1.0.0', license: 'MIT OR Apache-2.0' }], time: { zone: 'Europe/Rome', ntp: true }, storage: { journal_bytes: 1.2e9, journal_records: 184_213, store_bytes: 4e6, free_bytes: 9e10 }, uptime_s: 93_784 }];
    return [404, { title: 'Not Found', status: 404 }];
  }

  const forward = (req, res, body) => {
    const out = request(new URL(req.url, real), { method: req.method, headers: { ...req.headers, host: new URL(real).host } }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    out.on('error', () => res.writeHead(502).end());
    out.end(body);
  };
  const server = createServer((req, res) => {
    const url = new URL(req.url, 'http://x');
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
      const text = Buffer.concat(chunks);
      if (url.pathname.startsWith('/api/v1/')) {
        const here = /^\/api\/v1\/(session|credentials|about|replay|names|trends|messages)/.test(url.pathname);
        if (real && url.pathname === '/api/v1/credentials') return res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ root: 'vitalguard', site: 'demo' }));
        if (real && !here) return forward(req, res, text);
        if (url.pathname === '/api/v1/events' || url.pathname.endsWith('/events')) {
          res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
          const renamed = url.pathname.includes('/replay/') ? snapshot().map((record) => ({ ...record, topic: record.topic.replace('vitalguard/v1', `vitalguard/replay/${url.pathname.split('/')[4]}/v1`) })) : snapshot();
          res.write(`data: ${JSON.stringify(renamed)}\n\n`);
          if (!url.pathname.includes('/replay/')) clients.add(res);
          req.socket.on('close', () => clients.delete(res));
          return;
        }
        let body;
        try {
          body = text.length > 0 ? JSON.parse(text) : undefined;
        } catch {
          body = undefined;
        }
        if (req.method !== 'GET' && url.pathname !== '/api/v1/session' && req.headers['x-csrf-token'] !== 'fixture') return res.writeHead(403).end('{}');
        const [status, answer] = api(req.method, url.pathname, url.searchParams, body);
        res.writeHead(status, { 'Content-Type': 'application/json' }).end(answer === undefined ? undefined : JSON.stringify(answer));
        return;
      }
      const file = join(dist, url.pathname === '/' ? 'index.html' : url.pathname.slice(1));
      if (!file.startsWith(dist) || !existsSync(file)) return res.writeHead(404).end();
      res.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': CSP, 'Cache-Control': 'no-cache' }).end(readFileSync(file));
    });
  });
  if (mqtt) {
    const [host, port] = mqtt.split(':');
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'mqtt' });
    server.on('upgrade', (req, socket, head) => sockets.handleUpgrade(req, socket, head, (ws) => {
      const tcp = connect(Number(port), host);
      tcp.on('data', (bytes) => ws.send(bytes)).on('close', () => ws.close()).on('error', () => ws.close());
      ws.on('message', (bytes) => tcp.write(bytes)).on('close', () => tcp.destroy());
    }));
  }
  await new Promise((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => {
      timers.forEach(clearInterval);
      for (const client of clients) client.destroy();
      server.closeAllConnections();
      server.close();
    },
    /** The service says nothing any more, connection open. */
    mute: () => (speaking = false),
    unmute: () => (speaking = true),
    stopHeart: () => (beating = false),
    hangUp: () => clients.forEach((client) => client.destroy()),
    restart: () => {
      boot = `boot-${Date.now().toString(36)}x`;
      rev = 0;
      send(snapshot());
    },
    raise: (bed, priority, en, it) => {
      const alert = make(bed, 'T03 flat_line', priority === 'high' ? 'tamper' : 'artefact', priority, ['hr'], 1, en, it);
      open = [...open, alert];
      happen('raised', alert);
      return alert;
    },
    names,
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const value = (name) => { const at = process.argv.indexOf(`--${name}`); return at < 0 ? undefined : process.argv[at + 1]; };
  const server = await serve({ port: Number(value('port') ?? 4174), beds: Number(value('beds') ?? 24), login: process.argv.includes('--login'), role: value('role'), real: value('real'), mqtt: value('mqtt') });
  console.log(server.url);
}

// Scenarios 1, 9, 8, 8b: how fast, with 62 and with 200 beds.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Gateway, named } from './feed.mjs';
import { Service, sleep, tool, until } from './house.mjs';
import { button, close, open, performance, watchTiles } from './pages.mjs';
import { house, quantile, scenario } from './report.mjs';
import { Wire } from './wire.mjs';

/** Many alerts at once are many alerts here: nothing is folded into one notice. */
export const SINGLE = '[episodes]\ncollapse_beds = 1000\ncollapse_share = 1.0\n';

/** Alerts on `count` beds one after the other; times from the message to the broker's subscriber and to the page. */
export async function alerts(gateway, wire, page, beds, gap = 60) {
  const sent = {};
  const heard = {};
  const watcher = (topic, document, at) => { if (document?.event === 'raised' && topic.endsWith('/event/high')) heard[document.bed] ??= at; };
  wire.watchers.add(watcher);
  await watchTiles(page, /High|Alta/);
  for (const bed of beds) {
    sent[bed] = Date.now();
    void gateway.reuse(bed);
    await sleep(gap);
  }
  const shown = await until('every alert on the page', async () => { const at = await page.evaluate(() => window.firstAt); return beds.every((bed) => at[bed] && heard[bed]) && at; }, 20_000, 200);
  wire.watchers.delete(watcher);
  const list = (of) => beds.map(of);
  return { broker: list((b) => heard[b] - sent[b]), page: list((b) => shown[b] - heard[b]), whole: list((b) => shown[b] - sent[b]) };
}

export const told = (times) => `MLLP to page p50 ${quantile(times.whole, 0.5)} p99 ${quantile(times.whole, 0.99)} ms (1000), MLLP to broker p99 ${quantile(times.broker, 0.99)} (200), broker to page p99 ${quantile(times.page, 0.99)} (250)`;

export function within(times) {
  assert.ok(quantile(times.whole, 0.99) < 1_000, told(times));
  // The two parts are budgets of a quiet machine with an optimised build; VG_STRICT=1 holds them as well.
  if (process.env.VG_STRICT) assert.ok(quantile(times.broker, 0.99) < 200 && quantile(times.page, 0.99) < 250, told(times));
}

/** What `/api/v1/state` calls its hash, of documents heard elsewhere. */
export function stateHash(documents) {
  const beds = [...documents].filter(([topic]) => /\/ward\/[^/]+\/bed\/[^/]+\/state$/.test(topic)).sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash('sha256');
  for (const [, bed] of beds) hash.update(`${bed.ward}/${bed.bed}\t${bed.trust}\t${bed.active.map((alert) => alert.id).sort().join(',')}\n`);
  return { hash: `sha256:${hash.digest('hex').slice(0, 16)}`, beds: beds.length, open: beds.reduce((sum, [, bed]) => sum + bed.active.length, 0) };
}

/** What a late subscriber hears within its first seconds. */
export async function snapshot(port, account = []) {
  const late = tool('mosquitto_sub', ['-h', '127.0.0.1', '-p', String(port), ...account, '-q', '1', '-v', '-t', 'vitalguard/v1/hsp1/ward/+/bed/+/state', '--retained-only', '-W', '4']);
  await late.ended;
  return new Map(late.text.split('\n').filter((line) => line.includes(' {')).map((line) => { const cut = line.indexOf(' '); return [line.slice(0, cut), JSON.parse(line.slice(cut + 1))]; }));
}

/** Page, `mosquitto_sub` and HTTP tell the same of a feed that stands still. */
export async function late(service, say, { port, account = [], session, page }) {
  const equal = await until('the three to agree', async () => {
    const before = (await session('GET', '/api/v1/state')).json;
    const mine = stateHash(await snapshot(port, account));
    const after = (await session('GET', '/api/v1/state')).json;
    if (before.hash !== after.hash) throw new Error('the state was moving');
    if (mine.hash !== after.hash) throw new Error(`mosquitto_sub ${mine.hash} with ${mine.beds} beds, ${mine.open} open; HTTP ${after.hash}`);
    return { ...mine, documents: after.documents };
  }, 30_000, 200);
  const shown = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll('[data-bed]')].map((e) => [e.dataset.bed, e.getAttribute('aria-label')])));
  const beds = equal.documents.map(({ payload }) => payload).filter((d) => d.schema === 'bed-state/1' && !d.bed.startsWith('_') && !d.ward.startsWith('_'));
  const WORD = { plausible: 'OK', learning: 'LEARNING', questioned: 'CHECK', untrusted: 'NOT TRUSTED', stale: 'STALE', nofeed: 'NO DATA', off: 'OFF' };
  for (const bed of beds) assert.ok(shown[`${bed.ward}/${bed.bed}`]?.includes(WORD[bed.trust]), `${bed.bed} is ${bed.trust}; the page says ${shown[`${bed.ward}/${bed.bed}`]}`);
  assert.equal(Object.keys(shown).length, beds.length);
  say(`${equal.beds} beds, ${equal.open} open alerts: mosquitto_sub -q 1 and /api/v1/state ${equal.hash}; ${beds.length} tiles with the same words`);
  return equal;
}

export const first = () => house([1], 'alerts in time', async () => {
  const service = await Service.start({ name: 'speed', config: SINGLE });
  const beds = named('icu', 62);
  const wire = await Wire.open(service.ports.mqtt);
  const gateway = await Gateway.start(service.ports.mllp[0], beds, { lines: 4 });
  const page = await open(service, '#/ward', { viewport: { width: 1920, height: 1080 } });
  await button(page, 'D02').waitFor();
  await sleep(2_500);
  await scenario(1, 'alert in a second', async (say) => {
    const times = await alerts(gateway, wire, page, beds.slice(0, 50).map((b) => b.bed));
    assert.match(await page.locator('[data-tile$="/A03"] .mark').innerText(), /^!!!/);
    within(times);
    say(`50 alerts: ${told(times)}`);
  });
  gateway.stop();
  wire.end();
  await close(page);
  await service.kill('SIGTERM');
});

export const many = () => house([9, 8, '8b'], '200 beds', async () => {
  const service = await Service.start({ name: 'many', config: SINGLE });
  const wards = ['icu', 'ccu', 'med', 'surg', 'neo', 'step', 'er', 'pacu', 'nsu', 'card'];
  const beds = named('icu', 200).map((bed, i) => Object.assign(bed, { ward: wards[Math.floor(i / 20)] }));
  const wire = await Wire.open(service.ports.mqtt);
  const gateway = await Gateway.start(service.ports.mllp[0], beds, { lines: 16 });
  const big = { viewport: { width: 1920, height: 1080 } };
  await until('200 beds', () => [...wire.retained.keys()].filter((t) => t.endsWith('/state') && t.includes('/bed/')).length >= 200, 30_000);
  await sleep(1_500);

  await scenario(9, 'late joiner, 200 beds, 60 open alerts', async (say) => {
    for (const bed of beds.slice(0, 60)) await gateway.reuse(bed.bed);
    await until('60 alerts', () => wire.messages.filter((m) => m.document?.event === 'raised' && m.topic.endsWith('/event/high')).length >= 60);
    gateway.pause();
    const page = await open(service, '#/ward', big);
    await button(page, 'J20').waitFor();
    await sleep(1_500);
    const equal = await late(service, say, { port: service.ports.mqtt, session: await service.session(), page });
    assert.ok(equal.beds >= 200 && equal.open >= 60, `${equal.beds} beds, ${equal.open} open`);
    await close(page);
    gateway.play();
  });

  const seconds = Number(process.env.VG_WALL_S ?? 60);
  await scenario(8, `200 beds at 1 Hz, ${seconds} s`, async (say) => {
    const page = await open(service, '#/ward', big);
    await button(page, 'J20').waitFor();
    await sleep(5_000);
    const first = wire.messages.length;
    // How far each tile is behind what its bed has sent, looked at once a second.
    const behind = [];
    const look = setInterval(() => void page.evaluate(() => [Date.now(), [...document.querySelectorAll('[data-tile]')].map((t) => [t.dataset.tile, [...t.querySelectorAll('.value')].slice(0, 2).map((v) => v.textContent.trim()).join(' ')])])
      .then(([at, tiles]) => { for (const [key, text] of tiles) behind.push(beds.find((bed) => bed.key === key)?.behind(text, at) ?? Infinity); }, () => {}), 2_000);
    const seen = await performance(page, seconds * 1_000);
    const p99 = quantile(seen.frames, 0.99);
    const longest = Math.max(...seen.frames);
    clearInterval(look);
    const lag = wire.messages.findLast((m) => m.topic.endsWith('/heartbeat'))?.document.lag_ms;
    const age = Math.max(...behind);
    say(`main thread ${seen.main.toFixed(1)} % (40), script ${seen.script.toFixed(1)} %, ${seen.fps.toFixed(0)} frames/s (30), frame p99 ${p99.toFixed(0)} ms, longest ${longest.toFixed(0)} ms (250), heap ${seen.heap.toFixed(1)} MB, grown ${seen.grown.toFixed(2)} MB (10), tiles behind their beds p50 ${quantile(behind, 0.5)} p99 ${quantile(behind, 0.99)} worst ${age} ms (1500), service lag p99 ${lag?.p99} ms, ${((wire.messages.length - first) / seconds).toFixed(0)} documents/s besides vitals`);
    assert.ok(seen.grown < 10, 'heap');
    assert.ok(behind.length > 1_000);
    assert.ok(seen.main < 40, `main thread ${seen.main.toFixed(1)} %`);
    assert.ok(seen.fps >= 30, `${seen.fps.toFixed(0)} frames/s`);
    assert.ok(p99 < 250 && longest < 2_000, `frames p99 ${p99.toFixed(0)}, longest ${longest.toFixed(0)} ms`);
    assert.ok(quantile(behind, 0.99) < 3_000, `tiles p99 ${quantile(behind, 0.99)} ms behind`);
    // The budgets for single frames and tiles are those of a quiet machine.
    if (process.env.VG_STRICT) assert.ok(longest < 250 && age < 1_500, `longest frame ${longest.toFixed(0)} ms, a tile ${age} ms behind its bed`);
    await close(page);
  }, 60_000 + seconds * 1_200);
  await scenario('8b', 'alerts among 200 beds on a PC four times slower', async (say) => {
    const page = await open(service, '#/ward', big);
    await button(page, 'J20').waitFor();
    const client = await page.context().newCDPSession(page);
    await client.send('Emulation.setCPUThrottlingRate', { rate: 4 });
    await sleep(5_000);
    const [times, seen] = await Promise.all([alerts(gateway, wire, page, beds.slice(60, 80).map((bed) => bed.bed), 700), performance(page, 15_000)]);
    const p99 = quantile(times.whole, 0.99);
    say(`20 alerts: ${told(times)}; main thread ${seen.main.toFixed(1)} %, ${seen.fps.toFixed(0)} frames/s, frame p99 ${quantile(seen.frames, 0.99).toFixed(0)} ms`);
    // The slowest of twenty is a budget of a quiet machine with an optimised build; VG_STRICT=1 holds it.
    assert.ok(process.env.VG_STRICT ? p99 < 1_000 : quantile(times.whole, 0.5) < 5_000, told(times));
    await close(page);
  });
  gateway.stop();
  wire.end();
  await service.kill('SIGTERM');
});

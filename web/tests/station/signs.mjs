// Scenarios 10, 11, 19, 20, 20b, 12, 15, 16, 23, 22 on the embedded broker without users; some with shortened waits of the configuration.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Bed, Gateway, Line, named } from './feed.mjs';
import { BINARY, Service, made, run, sleep, until } from './house.mjs';
import { button, close, go, name, open, PAGES, spoken, tile, violations } from './pages.mjs';
import { house, scenario, wanted } from './report.mjs';
import { gaps, Wire } from './wire.mjs';

/** The waits of the rules, shortened; the rules are the same. */
const SHORT = `[episodes]
clear_s = 8
clear_fast_s = 5
annunciation_medium_s = 1
annunciation_low_s = 1
artefact_medium_s = 20
collapse_beds = 1000
collapse_share = 1.0
[checks.gap]
gap_s = 6
nurse_s = 8
`;
const tall = (shown) => { [shown.abp_sys, shown.abp_dia] = [shown.abp_dia, shown.abp_sys]; };

export default () => house([10, 11, 19, 20, '20b', 12, 15, 16, 23, 22], 'signs', async () => {
  const recordings = made(join(process.env.TMPDIR ?? '/tmp', `vitalguard-recordings-${process.pid}`));
  const service = await Service.start({ name: 'signs', feeds: [['gw', 'icu'], ['gw2', 'ccu']], config: `${SHORT}[replay]\nfolder = "${recordings}"\n` });
  const beds = named('icu', 12);
  const others = [new Bed('ccu', 'C01', 61), new Bed('ccu', 'C02', 62), new Bed('ccu', 'C03', 63)];
  const wire = await Wire.open(service.ports.mqtt);
  const gateway = await Gateway.start(service.ports.mllp[0], beds);
  const second = await Gateway.start(service.ports.mllp[1], others);
  const page = await open(service);
  const italian = await open(service, '#/ward', { lang: 'it' });
  for (const p of [page, italian]) for (const bed of ['A12', 'C03']) await button(p, bed).waitFor();
  await sleep(12_000);
  const session = await service.session();
  const command = async (verb, body) => (await session('POST', `/api/v1/cmd/${verb}`, { request_id: `s-${Math.random().toString(36).slice(2)}`, ...body })).json;
  const raised = (bed, pattern, timeout = 20_000) => until(`${pattern} on ${bed}`, () => wire.events(bed).find((e) => e.event === 'raised' && pattern.test(e.alert.condition)), timeout);

  // What needs time goes on beside the rest.
  const flapping = gateway.bed('A08');
  flapping.change = (shown, n) => { if (n % 4 < 2) tall(shown); };
  const flappedFrom = Date.now();
  const waits = [];

  waits.push(scenario(11, 'feed lost', async (say) => {
    const wall = await open(service);
    const heard = (pattern, timeout) => wall.waitForFunction((text) => ['C01', 'C02', 'C03'].every((bed) => !new RegExp(text).test(document.querySelector(`[data-bed$="/${bed}"]`)?.getAttribute('aria-label') ?? 'NO DATA')), pattern, { timeout });
    // A page that has just been opened has no data of any bed.
    await heard('NO DATA', 30_000);
    second.stop();
    const at = Date.now();
    for (const bed of ['C01', 'C02', 'C03']) await spoken(wall, bed, /NO DATA/, 90_000);
    const took = Date.now() - at;
    const age = () => tile(wall, 'C01').locator('.age').innerText();
    await until('the wall', () => tile(wall, 'C01').count());
    const one = await age();
    await sleep(6_000);
    assert.notEqual(await age(), one, 'the age runs');
    assert.doesNotMatch(await tile(wall, 'C01').locator('.numbers').innerText(), /\d/);
    const cards = wire.state('ccu', 'C01').active.filter((a) => !a.because);
    assert.ok(cards.length <= 1, `stale cards are folded: ${cards.map((a) => a.condition)}`);
    await second.reopen();
    const back = Date.now();
    await heard('NO DATA|CHECK|STALE', 45_000);
    const cleared = await until('the alerts to clear', () => ['C01', 'C02', 'C03'].every((bed) => wire.state('ccu', bed).active.length === 0) && Date.now() - back, 45_000);
    assert.ok(cleared > 2_000, 'not without hysteresis');
    say(`NO DATA on 3 beds after ${(took / 1000).toFixed(1)} s with running age, ${cards.length} card a bed, cleared ${(cleared / 1000).toFixed(1)} s after the return`);
    await close(wall);
  }, 150_000));

  await scenario(10, 'one parameter stops', async (say) => {
    const at = Date.now();
    gateway.bed('A04').without = new Set(['temp']);
    await page.waitForFunction(() => /-\?-/.test(document.querySelector('[data-tile$="/A04"]').textContent), undefined, { timeout: 45_000 });
    const took = Date.now() - at;
    await spoken(page, 'A04', /STALE/, 30_000);
    const state = wire.state('icu', 'A04');
    assert.equal(state.params.temp.value, null);
    assert.equal(state.params.temp.trust, 'stale');
    for (const key of ['hr', 'spo2', 'rr', 'abp_sys']) assert.equal(typeof state.params[key].value, 'number', key);
    const low = await until('the low alert', () => wire.state('icu', 'A04').active.find((a) => a.params.includes('temp')), 30_000);
    assert.equal(low.priority, 'low');
    for (const { topic, document } of wire.of('/bed/A04/state')) assert.notEqual(document?.params?.temp?.value, 0, topic);
    gateway.bed('A04').without = new Set();
    say(`-?- after ${(took / 1000).toFixed(1)} s, STALE, ${low.condition} low, the others go on, never 0 on MQTT`);
  });

  await scenario(15, 'screen reader', async (say) => {
    await gateway.reuse('A06');
    for (const p of [page, italian]) await spoken(p, 'A06', p === page ? /NOT TRUSTED, High/ : /NON ATTENDIBILE, Alta/);
    const alert = (await raised('A06', /^P01/)).alert;
    assert.ok((await name(page, 'A06')).includes(alert.text.en) && (await name(italian, 'A06')).includes(alert.text.it), await name(italian, 'A06'));
    assert.match(await name(page, 'A06'), /^Bed A06, NOT TRUSTED, High/);
    assert.match(await name(italian, 'A06'), /^Letto A06, NON ATTENDIBILE, Alta/);
    await page.evaluate(() => {
      window.said = [];
      const region = document.querySelector('[role=alert].hidden, .hidden[role=alert]');
      new MutationObserver(() => window.said.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
    });
    await gateway.reuse('A07');
    await spoken(page, 'A07', /High/);
    await sleep(3_000);
    const said = await page.evaluate(() => window.said);
    assert.equal(said.filter((text) => /bed A07/.test(text)).length, 1, JSON.stringify(said));
    assert.equal(await page.evaluate(() => [...document.querySelectorAll('[aria-live], [role=alert], [role=status], [role=log]')].filter((e) => e.querySelector('.value') || e.closest('.tile')).length), 0);
    let looked = 0;
    for (const [p, lang] of [[page, 'en'], [italian, 'it']]) {
      for (const hash of [...PAGES.map((h) => `#/${h}`), '#/bed/icu/A06']) {
        await go(p, hash);
        await p.waitForTimeout(hash.includes('bed') ? 1_200 : 500);
        assert.deepEqual(await violations(p), [], `${hash} ${lang}`);
        looked += 1;
      }
      await go(p, '#/ward');
    }
    say(`names equal the sentence in en and it, a new high spoken once, numbers silent, axe 0 on ${looked} pages`);
  });

  await scenario(16, 'Italian', async (say) => {
    await button(italian, 'A01').waitFor();
    const text = await tile(italian, 'A01').innerText();
    for (const word of ['FC', 'SpO₂', 'FR', 'PA']) assert.ok(text.includes(word), `${word} in ${text}`);
    assert.match(text, /3[67],\d/);
    assert.match(await italian.locator('header .advice').innerText(), /^Display informativo/);
    const english = /\b(Ward|Alerts|Devices|Feeds|Sound|High|Medium|Low|Acknowledge|Evidence|What to do|received|unknown|none|Bed)\b/;
    for (const hash of [...PAGES.map((h) => `#/${h}`), '#/bed/icu/A06']) {
      await go(italian, hash);
      await italian.waitForTimeout(700);
      const found = english.exec(await italian.evaluate(() => document.body.innerText.replace(/\[[A-Z]\d\d [^\]]*\]/g, '')));
      assert.equal(found, null, `${hash}: ${found?.[0]} in ${found?.input.slice(Math.max(0, found.index - 60), found.index + 60)}`);
    }
    await go(italian, '#/bed/icu/A06');
    await italian.getByRole('button', { name: '24 h', exact: true }).click();
    assert.match(await italian.locator('[data-clock]').innerText(), /^\d\d[:.]\d\d[:.]\d\d$/);
    const cut = [];
    for (const [width, height, zoom] of [[1366, 768, 1], [1366, 768, 2]]) {
      const fit = await open(service, '#/ward', { lang: 'it', viewport: { width: Math.round(width / zoom), height: Math.round(height / zoom) }, deviceScaleFactor: zoom });
      await button(fit, 'A06').waitFor();
      await fit.waitForTimeout(800);
      for (const hash of ['#/ward', ...PAGES.slice(1).map((h) => `#/${h}`), '#/bed/icu/A06']) {
        await go(fit, hash);
        await fit.waitForTimeout(400);
        if (await fit.evaluate(() => document.documentElement.scrollWidth > innerWidth)) cut.push(`${hash} wider than its window at ${zoom}x`);
        if (hash !== '#/ward') continue;
        cut.push(...(await fit.evaluate(() => [...document.querySelectorAll('[data-tile]')].flatMap((tile) => {
          const box = tile.getBoundingClientRect();
          return [...tile.querySelectorAll('.word, .bed, .value, .strip .text')].filter((part) => { const inner = part.getBoundingClientRect(); return inner.right > box.right + 1 || inner.bottom > box.bottom + 1; }).map((part) => `${tile.dataset.tile} ${part.className}`);
        }))));
      }
      await close(fit);
    }
    assert.deepEqual(cut.slice(0, 5), []);
    await go(italian, '#/ward');
    say('FC SpO₂ FR PA T, 36,6, 24-hour clock, no English word on 9 pages, all fits at 1366x768 and 200 %');
  });

  waits.push(scenario(12, 'frozen tab, 30 s', async (say) => {
    const frozen = await open(service, '#/ward', { quiet: true });
    await button(frozen, 'A01').waitFor();
    await frozen.waitForTimeout(6_000);
    await frozen.evaluate(() => {
      window.overlays = [];
      let before = false;
      new MutationObserver(() => { const there = document.querySelector('[data-not-live]') !== null; if (before !== there) window.overlays.push([before = there, Date.now()]); }).observe(document.body, { subtree: true, childList: true });
    });
    const client = await frozen.context().newCDPSession(frozen);
    await client.send('Debugger.enable');
    await client.send('Debugger.pause');
    const seconds = Number(process.env.VG_FREEZE_S ?? 30);
    await sleep(seconds * 1_000);
    const thaw = Date.now();
    await client.send('Debugger.resume');
    await frozen.waitForFunction(() => window.overlays.length >= 2, undefined, { timeout: 15_000 });
    const [[first, shown], [then, gone]] = await frozen.evaluate(() => window.overlays);
    assert.deepEqual([first, then], [true, false]);
    say(`asleep ${seconds} s: overlay ${shown - thaw} ms after the thaw, fresh data ${gone - thaw} ms after it`);
    await close(frozen);
  }));

  waits.push(scenario('20b', 'physiology cannot be shelved', async (say) => {
    // Two sensors read a rate that is rare at any age, on a bed whose messages were changed: told beside it, never in its place.
    await gateway.reuse('A09');
    const tamper = (await raised('A09', /^P01/)).alert;
    gateway.bed('A09').change = (shown) => { shown.hr = 238; shown.pr = 238; };
    const told = await until('the physiology', () => wire.events('A09').find((e) => e.event === 'raised' && e.alert.assessment === 'physiology' && e.alert.condition.startsWith('A02')), 30_000);
    const refused = await command('shelve', { alert: told.alert.id, minutes: 1, reason: 'x' });
    assert.equal(refused.code, 'FORBIDDEN');
    const bed = await open(service, '#/bed/icu/A09');
    assert.match(told.alert.text.en, /^Unusual value on bed A09: (HR|pulse) 238\. A second source/);
    await bed.getByRole('button', { name: /Unusual value on bed A09/ }).click();
    const card = bed.locator('section.alert', { hasText: told.alert.ref });
    await card.getByRole('button', { name: /^Acknowledge/ }).first().waitFor({ timeout: 15_000 });
    assert.equal(await card.getByRole('button', { name: 'Shelve …' }).count(), 0, 'the page does not offer it');
    assert.ok(!wire.events('A09').some((e) => e.event === 'shelved'));
    gateway.bed('A09').change = undefined;
    await close(bed);
    say(`${told.alert.condition} ${told.alert.priority} beside ${tamper.condition} ${tamper.priority}: refused, and not offered on its card`);
  }));

  waits.push(scenario(20, 'shelve 1 min', async (say) => {
    await gateway.second('A10', 6);
    const alert = (await raised('A10', /^P02/)).alert;
    const high = wire.state('icu', 'A06').active.find((a) => a.priority === 'high');
    const refused = high ? await command('shelve', { alert: high.id, minutes: 1, reason: 'x' }) : await (async () => { await gateway.reuse('A06'); return command('shelve', { alert: (await raised('A06', /^P01/)).alert.id, minutes: 1, reason: 'x' }); })();
    assert.equal(refused.code, 'FORBIDDEN');
    const bed = await open(service, '#/bed/icu/A10');
    const card = bed.locator('section.alert', { hasText: alert.ref });
    await card.getByRole('button', { name: 'Shelve …' }).click();
    const form = card.locator('form', { has: bed.locator('select') }).first();
    await form.locator('select').selectOption('1');
    await form.locator('input').fill('physiotherapy');
    await card.getByRole('button', { name: 'Send', exact: true }).click();
    await card.getByText(/Shelved by local, 0?0:5\d left: physiotherapy/).first().waitFor({ timeout: 8_000 }).catch(async (error) => { throw new Error(`${error.message.split('\n')[0]}: ${(await bed.locator('.detail').innerText()).slice(0, 600)} ${await bed.locator('.toast').innerText()}`); });
    const at = Date.now();
    assert.equal((await command('comment', { alert: alert.id, comment: 'probe off, replaced' })).status, 'ok');
    const csv = await session('GET', '/api/v1/alerts?format=csv&bed=A10');
    const report = await session('GET', `/api/v1/alerts/${alert.id}/report`);
    assert.match(csv.text, /probe off, replaced/, 'the comment in the CSV');
    assert.match(report.text, /probe off, replaced/, 'the comment in the report');
    await close(bed);
    const back = await until('the end of the shelf', () => wire.events('A10').find((e) => e.event === 'unshelved' && e.alert.id === alert.id), 75_000);
    const length = back.at - at;
    assert.ok(length > 50_000 && length < 65_000, `${length} ms`);
    say(`countdown shown, back after ${(length / 1000).toFixed(1)} s; high refused; comment in CSV and report`);
  }, 120_000));

  await scenario(23, 'devices', async (say) => {
    const contec = new Bed('icu', 'B20', 88, { application: 'CMS8000' });
    const line = await Line.open(service.ports.mllp[0]);
    for (let i = 0; i < 3; i += 1) { await line.send(contec.message()); await sleep(300); }
    line.close();
    const told = await until('the device event', () => wire.of('/device/').find((m) => m.document?.event === 'advisory'));
    assert.equal(told.document.advisory.id, 'ICSMA-25-030-01');
    const low = await raised('B20', /^N01/);
    assert.equal(low.alert.priority, 'low');
    await go(page, '#/devices');
    await page.locator('tbody tr', { hasText: 'CMS8000' }).first().waitFor();
    assert.match(await page.locator('tbody tr', { hasText: 'CMS8000' }).first().innerText(), /ICSMA-25-030-01/);
    await go(page, '#/ward');
    say(`row with ICSMA-25-030-01, ${low.alert.condition} low, once (after a restart: 23b)`);
  });

  await scenario(22, 'replay', async (say) => {
    const bed = new Bed('rec', 'R01', 77);
    let text = '';
    const frame = (message) => `\x0b${message}\x1c\r`;
    const now = Date.now();
    for (let i = 0; i < 120; i += 1) { bed.skew = now - 600_000 + i * 1_000 - Date.now(); text += frame(bed.message()); if (i === 80) text += frame(bed.message({ id: bed.id, values: { ...bed.values(), hr: 150 } })); }
    writeFileSync(join(recordings, 'invented.mllp'), text);
    const first = wire.messages.length;
    const listed = (await session('GET', '/api/v1/replay')).json;
    assert.ok(JSON.stringify(listed).includes('invented.mllp'), JSON.stringify(listed));
    const answer = await session('POST', '/api/v1/replay', { source: { file: 'invented.mllp' }, speed: 60, loop: false });
    assert.ok(answer.status < 300, answer.text);
    const id = answer.json.run;
    const heard = [];
    const stream = await fetch(`${service.base}/api/v1/replay/${id}/events`);
    void (async () => { let rest = ''; const decoder = new TextDecoder(); for await (const chunk of stream.body) { rest += decoder.decode(chunk, { stream: true }); for (let cut; (cut = rest.indexOf('\n\n')) >= 0; rest = rest.slice(cut + 2)) { const data = rest.slice(0, cut).split('\n').filter((l) => l.startsWith('data:')).map((l) => l.slice(5)).join(''); if (data) try { heard.push(...[JSON.parse(data)].flat()); } catch { /* a comment */ } } } })().catch(() => {});
    for (const hash of ['#/replay', '#/ward', '#/alerts', '#/about']) {
      await go(page, hash);
      await page.locator('aside.frame', { hasText: 'REPLAY' }).waitFor({ timeout: 15_000 });
    }
    const ended = await until('the end of the replay', async () => { const { json } = await session('GET', `/api/v1/replay/${id}`); return json.state === 'ended' && json; }, 30_000, 200);
    const sandbox = heard.filter(({ topic }) => topic.includes('/event/')).map(({ payload }) => payload);
    const lines = (await run(BINARY, ['replay', join(recordings, 'invented.mllp'), '--alerts', '-', '--config', service.file])).stdout.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const key = (e) => `${e.event} ${e.seq} ${e.alert.condition} ${e.alert.priority} ${e.ts}`;
    assert.ok(lines.length > 0 && lines.every((e) => e.replay));
    assert.deepEqual([...new Set(sandbox.map(key))].sort(), [...new Set(lines.map(key))].sort());
    assert.equal((await session('PATCH', `/api/v1/replay/${id}`, { seek_ms: 30_000, paused: true })).status < 300, true);
    const sought = await until('the seek', async () => { const { json } = await session('GET', `/api/v1/replay/${id}`); return Math.abs(json.position_ms - 30_000) < 2_000 && json.paused && json; }, 10_000, 100);
    assert.equal((await session('PATCH', `/api/v1/replay/${id}`, { speed: 0.5 })).json?.speed ?? 0.5, 0.5);
    const live = wire.messages.slice(first).filter((m) => m.topic.startsWith('vitalguard/v1/') && (m.topic.includes('/R01/') || m.document?.replay));
    assert.equal(live.length, 0, 'a live subscriber of the live tree');
    await session('DELETE', `/api/v1/replay/${id}`);
    await go(page, '#/ward');
    await page.locator('aside.frame').waitFor({ state: 'detached', timeout: 15_000 });
    say(`${lines.length} events equal the JSON Lines, sought to ${sought.position_ms} ms of ${ended.length_ms}, frame on 4 pages, 0 of ${wire.messages.length - first} live messages from it`);
  });

  await scenario(19, 'lifecycle', async (say) => {
    const bed = gateway.bed('A11');
    bed.change = tall;
    const up = await until('the escalation', () => wire.events('A11').find((e) => e.event === 'escalated' || (e.event === 'raised' && e.alert.priority === 'medium')), 60_000);
    const id = up.alert.id;
    bed.change = undefined;
    await until('the end', () => wire.events('A11').find((e) => e.event === 'cleared' && e.alert.id === id), 60_000);
    const own = wire.events('A11').filter((e) => e.alert.id === id);
    const path = [...new Map(own.map((e) => [e.seq, e.event])).values()];
    assert.equal(path[0], 'raised');
    assert.equal(path.at(-1), 'cleared');
    const { out, alerts } = gaps(wire);
    assert.deepEqual(out, [], 'gaps in seq');
    const span = 120_000 - (Date.now() - flappedFrom);
    if (span > 0) await sleep(span);
    const flapped = wire.events('A08');
    const times = new Map();
    for (const e of flapped) if (e.event === 'raised') times.set(e.alert.id, e.alert.condition);
    const byCondition = [...times.values()].reduce((all, c) => ({ ...all, [c]: (all[c] ?? 0) + 1 }), {});
    assert.ok(times.size > 0, 'the flapping was seen');
    for (const [condition, n] of Object.entries(byCondition)) assert.equal(n, 1, `${condition} raised ${n} times`);
    flapping.change = undefined;
    say(`${path.join(', ')}; ${alerts} alerts without a gap in seq; 2 s on, 2 s off (one reading alone is no finding) for ${((Date.now() - flappedFrom) / 1000).toFixed(0)} s: raised ${JSON.stringify(byCondition)}`);
  }, 200_000);

  await Promise.all(waits);
  if (wanted(23)) await scenario('23b', 'the advisory is not raised again after a restart', async (say) => {
    const before = new Set(wire.events('B20').filter((e) => e.event === 'raised' && e.alert.condition.startsWith('N01')).map((e) => e.alert.id)).size;
    gateway.pause();
    second.pause();
    await service.kill('SIGTERM');
    await service.again();
    const contec = new Bed('icu', 'B20', 88, { application: 'CMS8000' });
    const line = await until('the listener', () => Line.open(service.ports.mllp[0]));
    const fresh = await Wire.open(service.ports.mqtt);
    for (let i = 0; i < 6; i += 1) { await line.send(contec.message({ id: `again-${i}` })); await sleep(500); }
    assert.equal(before, 1);
    assert.equal(fresh.events('B20').filter((e) => e.event === 'raised' && e.alert.condition.startsWith('N01')).length, 0);
    line.close();
    fresh.end();
    say('0 raised after the restart');
  });
  gateway.stop();
  second.stop();
  wire.end();
  await service.kill('SIGTERM');
});

// What is asked of the page, in a real Chromium against tests/fixture.mjs: node tests/accept.mjs [name part]
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { launch } from './browser.mjs';
import { serve } from './fixture.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const only = process.argv[2] ?? '';
const PAGES = { ward: '#/ward', bed: '#/bed/icu/A03', alerts: '#/alerts', all: '#/alerts?list=all', engineering: '#/alerts?list=engineering', cases: '#/cases', devices: '#/devices', feeds: '#/feeds', replay: '#/replay', about: '#/about' };
const browser = await launch();
let failed = 0;
const faults = [];

async function open(server, hash = '#/ward', { lang = 'en', theme, ...rest } = {}) {
  const context = await browser.newContext({ viewport: { width: 1366, height: 768 }, ...rest });
  await context.addInitScript(([l, t]) => { localStorage.setItem('vitalguard.lang', l); if (t) localStorage.setItem('vitalguard.theme', t); }, [lang, theme]);
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error' && !/status of 40[134]|net::ERR/.test(message.text())) faults.push(message.text()); });
  await page.goto(server.url + hash);
  return page;
}

async function test(name, options, run) {
  if (only && !name.includes(only)) return;
  const server = await serve(options);
  faults.length = 0;
  try {
    await run(server);
    assert.deepEqual(faults, [], 'errors of the page');
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
  for (const context of browser.contexts()) await context.close();
  server.stop();
}

const tile = (page, bed) => page.locator(`[data-tile$="/${bed}"]`);
const button = (page, bed) => page.locator(`[data-bed$="/${bed}"]`);
const ready = (page) => tile(page, 'A03').waitFor();

for (const lang of ['en', 'it'])
  for (const theme of ['dark', 'light'])
    await test(`axe finds nothing on any page, ${lang}, ${theme}`, { beds: 24, replay: true }, async (server) => {
      const page = await open(server, '#/ward', { lang, theme });
      await ready(page);
      // axe stands in the page only for this test; the policy of the service allows no such script.
      for (const [name, hash] of [...Object.entries(PAGES), ['help', '#/ward']]) {
        await page.evaluate((to) => (location.hash = to), hash);
        await page.waitForTimeout(name === 'bed' ? 1_800 : 700);
        if (name === 'help') await page.keyboard.press('?');
        if (name === 'feeds') await page.locator('td button').first().click();
        if (name === 'devices') await page.locator('summary').first().click();
        await page.waitForTimeout(150);
        const found = await page.evaluate(`${axe};axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then((r) => r.violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).join(' | ')))`);
        assert.deepEqual(found, [], name);
      }
    });

await test('axe finds nothing on the log-in page', { login: true }, async (server) => {
  const page = await open(server);
  await page.locator('input[name=user]').waitFor();
  const found = await page.evaluate(`${axe};axe.run().then((r) => r.violations.map((v) => v.id))`);
  assert.deepEqual(found, []);
  await page.fill('input[name=user]', 'nurse7');
  await page.fill('input[name=password]', 'wrong');
  await page.keyboard.press('Enter');
  await page.getByText('User or password is wrong.').waitFor();
  await page.fill('input[name=password]', 'secret');
  await page.keyboard.press('Enter');
  await ready(page);
});

await test('a tile is one button whose name is the sentence, in both languages', {}, async (server) => {
  const names = { en: /^Bed A03, NOT TRUSTED, High: HR and SpO₂ not changing for 41 s: values may be replayed/, it: /^Letto A03, NON ATTENDIBILE, Alta: FC e SpO₂ immutati da 41 s: possibili valori ripetuti/ };
  for (const lang of ['en', 'it']) {
    const page = await open(server, '#/ward', { lang });
    await ready(page);
    assert.match(await button(page, 'A03').getAttribute('aria-label'), names[lang]);
    assert.equal(await button(page, 'A03').evaluate((e) => e.tagName), 'BUTTON');
    assert.match(await tile(page, 'A01').innerText(), lang === 'it' ? /36,\d/ : /36\.\d/);
  }
});

await test('a new high alert is spoken once and shown within 250 ms', { beds: 40 }, async (server) => {
  const page = await open(server);
  await ready(page);
  await page.waitForTimeout(1_000);
  await page.evaluate(() => {
    window.seenAt = [];
    window.spoken = [];
    new MutationObserver(() => { const text = document.querySelector('[data-bed="icu/B05"]')?.getAttribute('aria-label') ?? ''; if (text.includes('marker') && window.seenAt.length === 0) window.seenAt.push(Date.now()); }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    new MutationObserver(() => window.spoken.push(document.querySelector('[role=alert]').textContent)).observe(document.querySelector('[role=alert]'), { childList: true, characterData: true, subtree: true });
  });
  const at = Date.now();
  server.raise('B05', 'high', 'marker', 'segno');
  await page.waitForFunction(() => window.seenAt.length > 0);
  const [seen] = await page.evaluate(() => window.seenAt);
  console.log(`        event to page ${seen - at} ms`);
  assert.ok(seen - at < 250, `${seen - at} ms`);
  await page.waitForTimeout(1_500);
  assert.deepEqual((await page.evaluate(() => window.spoken)).filter((text) => text.includes('marker')).length, 1);
});

await test('keyboard alone: arrows to A03, Enter, A, Esc, focus back on A03', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  await button(page, 'A01').focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await page.locator('#detail-title').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'detail-title');
  await page.keyboard.press('a');
  await page.waitForFunction(() => /acknowledged by local/.test(document.querySelector('[data-bed$="/A03"]').getAttribute('aria-label')) || /Medium/.test(document.querySelector('[data-bed$="/A03"]').getAttribute('aria-label')));
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.activeElement?.dataset.bed === 'icu/A03');
  await page.keyboard.press('ArrowDown');
  assert.notEqual(await page.evaluate(() => document.activeElement.dataset.bed), 'icu/A03');
  await page.keyboard.press('2');
  await page.waitForFunction(() => location.hash.startsWith('#/alerts'));
  await page.keyboard.press('/');
  assert.ok(await page.evaluate(() => document.activeElement.matches('[data-filter]')));
});

await test('an acknowledgement reaches a second browser within a second, dashed, with the name', {}, async (server) => {
  const one = await open(server, '#/bed/icu/A06');
  const two = await open(server);
  await ready(two);
  await one.getByRole('button', { name: 'Acknowledge', exact: true }).click();
  const at = Date.now();
  await two.waitForFunction(() => /acknowledged by local/.test(document.querySelector('[data-bed$="/A06"]').getAttribute('aria-label')));
  assert.ok(Date.now() - at < 1_000);
  assert.equal(await tile(two, 'A06').evaluate((e) => getComputedStyle(e).borderTopStyle), 'dashed');
  assert.equal(await tile(two, 'A06').locator('.strip').evaluate((e) => getComputedStyle(e).animationName), 'none');
});

await test('shelving counts down; a high one has no such button', {}, async (server) => {
  const page = await open(server, '#/bed/icu/A10');
  await page.getByRole('button', { name: 'Shelve …' }).click();
  await page.getByLabel('Reason').first().fill('physiotherapy');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await page.getByText(/Shelved by local, 14:5\d left: physiotherapy/).waitFor();
  await page.evaluate(() => (location.hash = '#/bed/icu/A03'));
  await page.getByRole('heading', { name: 'Bed A03' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Shelve …' }).count(), 0);
});

await test('an untrusted value stays readable, a stale one is -?-', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  assert.match(await tile(page, 'A03').innerText(), /HR\s*✕[\s\S]*72/);
  assert.match(await tile(page, 'A10').innerText(), /-\?-/);
  assert.doesNotMatch(await tile(page, 'A08').locator('.numbers').innerText(), /\d/);
  assert.doesNotMatch(await tile(page, 'A12').innerText(), /drifts/, 'unverified never on the wall');
});

await test('flash: the strip only, below 3 Hz, none with reduced motion', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  const moving = await page.evaluate(() => document.getAnimations().map((a) => ({ of: a.effect.target.className, ms: a.effect.getTiming().duration })));
  assert.ok(moving.length > 0 && moving.every((a) => a.of.includes('strip') && a.ms >= 600), JSON.stringify(moving));
  const still = await open(server, '#/ward', { reducedMotion: 'reduce' });
  await ready(still);
  assert.equal(await still.evaluate(() => document.getAnimations().length), 0);
});

await test('a closed connection shows within 1 s, silence greys the page after 7 s, and it recovers', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  server.mute();
  const at = Date.now();
  await page.locator('[data-not-live]').waitFor({ timeout: 12_000 });
  const after = Date.now() - at;
  assert.ok(after > 5_000 && after < 9_000, `${after} ms`);
  server.unmute();
  await page.locator('[data-not-live]').waitFor({ state: 'detached', timeout: 8_000 });
  const lost = page.waitForFunction(() => /NOT LIVE|Connecting/.test(document.querySelector('[data-chip]').textContent), undefined, { timeout: 1_000, polling: 50 });
  server.hangUp();
  await lost;
});

await test('a frozen page shows that it was, then fresh data', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  await page.waitForTimeout(6_000);
  await page.evaluate(() => {
    window.overlays = [];
    new MutationObserver(() => { const there = document.querySelector('[data-not-live]') !== null; if (window.overlays.at(-1) !== there) window.overlays.push(there); }).observe(document.body, { subtree: true, childList: true });
  });
  const client = await page.context().newCDPSession(page);
  await client.send('Debugger.enable');
  await client.send('Debugger.pause');
  await new Promise((resolve) => setTimeout(resolve, 9_000));
  await client.send('Debugger.resume');
  await page.waitForFunction(() => window.overlays.length >= 2, undefined, { timeout: 9_000 });
  assert.deepEqual(await page.evaluate(() => window.overlays.slice(0, 2)), [true, false]);
});

await test('without a heartbeat the page is not live after 15 s although values come', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  server.stopHeart();
  await page.locator('[data-not-live]').waitFor({ timeout: 22_000 });
  assert.match(await page.locator('[data-not-live]').innerText(), /no sign of life/);
});

await test('a new boot empties the store and brings the beds back', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  await page.waitForTimeout(500);
  server.restart();
  await page.waitForTimeout(600);
  assert.equal(await page.locator('[data-bed]').count(), 24);
});

await test('privacy: a name only after a click; none in the URL, the title or the storage; none in kiosk mode', {}, async (server) => {
  const page = await open(server, '#/bed/icu/A03');
  await page.locator('#detail-title').waitFor();
  assert.doesNotMatch(await page.content(), /Example Patient/);
  await page.getByRole('button', { name: /Show name/ }).click();
  await page.getByText('Example Patient').waitFor();
  assert.doesNotMatch(await page.evaluate(() => location.href + document.title + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)), /Example/);
  const kiosk = await open(server, '#/bed/icu/A03?kiosk=1');
  await kiosk.locator('#detail-title').waitFor();
  assert.equal(await kiosk.getByRole('button', { name: /Show name/ }).count(), 0);
  assert.equal(await kiosk.locator('nav[aria-label=Pages]').count(), 0);
});

await test('the offending field is marked, and hostile text stays text', {}, async (server) => {
  const page = await open(server, '#/bed/icu/A03');
  await page.locator('mark').first().waitFor();
  assert.equal(await page.locator('mark').first().innerText(), '72');
  server.raise('A04', 'medium', '<img src=x onerror=window.hit=1>', '<b>x</b>');
  await page.waitForFunction(() => document.querySelector('[data-tile$="/A04"]').textContent.includes('<img'));
  assert.equal(await page.evaluate(() => window.hit), undefined);
});

await test('charts have five times of the bed, filters and exports follow the URL', {}, async (server) => {
  const page = await open(server, '#/bed/icu/A03');
  await page.locator('.charts canvas').first().waitFor();
  for (const name of ['1 h', '8 h', '24 h']) {
    await page.getByRole('button', { name, exact: true }).click();
    await page.waitForTimeout(250);
  }
  assert.ok((await page.locator('.charts canvas').count()) >= 4);
  await page.evaluate(() => (location.hash = '#/alerts?priority=high'));
  await page.locator('tbody tr').first().waitFor();
  assert.equal(await page.locator('tbody tr').count(), 1);
  await page.getByLabel('Priority').selectOption('low');
  await page.waitForFunction(() => location.hash.includes('priority=low'));
  assert.match(await page.getByRole('link', { name: 'CSV' }).getAttribute('href'), /priority=low.*format=csv/);
});

await test('sound is off until a person switches it on, and can be paused', {}, async (server) => {
  const page = await open(server);
  await ready(page);
  await page.getByRole('button', { name: 'Sound off' }).click();
  await page.getByRole('button', { name: 'Enable sound' }).click();
  await page.getByRole('button', { name: 'Sound on' }).waitFor();
  await page.getByRole('button', { name: 'Pause 2 min' }).click();
  await page.getByRole('button', { name: /Sound paused [12]:\d\d/ }).waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.getByRole('button', { name: 'Test tone' }).count(), 0);
});

await test('self-test shows each hop and the page', {}, async (server) => {
  const page = await open(server, '#/about');
  await page.getByRole('button', { name: 'Run self-test' }).click();
  await page.getByText('Passed.').waitFor();
  assert.equal(await page.locator('[role=status] table tbody tr').count(), 4);
});

await test('nothing overflows: 1366, 1920 and 200 % zoom, every page, Italian', { beds: 24 }, async (server) => {
  for (const [width, height] of [[1366, 768], [1920, 1080], [683, 384]]) {
    const page = await open(server, '#/ward', { lang: 'it', viewport: { width, height } });
    await page.locator('[data-bed]').first().waitFor();
    for (const [name, hash] of Object.entries(PAGES)) {
      await page.evaluate((to) => (location.hash = to), hash);
      await page.waitForTimeout(700);
      const wide = await page.evaluate(() => {
        const out = [];
        if (document.documentElement.scrollWidth > innerWidth) out.push('page');
        for (const tile of document.querySelectorAll('.tile')) {
          const box = tile.getBoundingClientRect();
          for (const part of tile.querySelectorAll('.value, .bed, .strip, .word')) {
            const inner = part.getBoundingClientRect();
            if (inner.right > box.right + 1 || inner.bottom > box.bottom + 1) out.push(`${tile.dataset.tile} ${part.className}`);
          }
          const numbers = tile.querySelector('.numbers')?.getBoundingClientRect();
          const strip = tile.querySelector('.strip')?.getBoundingClientRect();
          if (numbers && strip && numbers.bottom > strip.top + 1) out.push(`${tile.dataset.tile} strip over numbers`);
        }
        return out.slice(0, 5);
      });
      assert.deepEqual(wide, [], `${name} at ${width}`);
    }
  }
});

await test('200 beds at 1 Hz: main thread, frames, heap', { beds: 200 }, async (server) => {
  const page = await open(server, '#/ward', { viewport: { width: 1920, height: 1080 } });
  await ready(page);
  await page.waitForTimeout(4_000);
  const client = await page.context().newCDPSession(page);
  await client.send('Performance.enable');
  const metrics = async () => Object.fromEntries((await client.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  await client.send('HeapProfiler.collectGarbage');
  const before = await metrics();
  const seconds = Number(process.env.PERF_S ?? 20);
  const frames = await page.evaluate((ms) => new Promise((resolve) => {
    const spans = [];
    let last = performance.now();
    const end = last + ms;
    requestAnimationFrame(function frame(at) { spans.push(at - last); last = at; if (at < end) requestAnimationFrame(frame); else resolve(spans.slice(1)); });
  }), seconds * 1_000);
  const after = await metrics();
  await client.send('HeapProfiler.collectGarbage');
  const cleaned = await metrics();
  frames.sort((a, b) => a - b);
  const p99 = frames[Math.floor(frames.length * 0.99)];
  const load = ((after.TaskDuration - before.TaskDuration) / (after.Timestamp - before.Timestamp)) * 100;
  const script = ((after.ScriptDuration - before.ScriptDuration) / (after.Timestamp - before.Timestamp)) * 100;
  const growth = (cleaned.JSHeapUsedSize - before.JSHeapUsedSize) / 1e6;
  console.log(`        main thread ${load.toFixed(1)} %, script ${script.toFixed(1)} %, ${(frames.length / seconds).toFixed(0)} frames/s, p99 ${p99.toFixed(0)} ms, longest ${frames.at(-1).toFixed(0)} ms, heap ${(cleaned.JSHeapUsedSize / 1e6).toFixed(1)} MB, grown ${growth.toFixed(2)} MB in ${seconds} s`);
  assert.ok(load < 40, `main thread ${load.toFixed(1)} %`);
  // A single frame belongs to the machine as well; VG_STRICT=1 holds it.
  assert.ok(p99 < 250 && frames.at(-1) < (process.env.VG_STRICT ? 250 : 2_000), `longest frame ${frames.at(-1)} ms`);
  assert.ok(growth < 10);
});

await browser.close();
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

// Scenarios 2, 3, 17, 17b, 18, 13, 14, 25: people at stations, on the embedded broker with users.
import assert from 'node:assert/strict';
import { Gateway, named } from './feed.mjs';
import { Service, run, sleep, tool, until } from './house.mjs';
import { asked, button, chip, close, go, name, open, PAGES, spoken, tile } from './pages.mjs';
import { house, scenario } from './report.mjs';
import { Wire } from './wire.mjs';

const TOKENS = ['QZXNAMEQ', 'QZXGIVENQ', 'QZXRECORDQ', '19311213', 'QZXSTREETQ', 'QZXNOTEQ', 'QZXDOCTORQ'];
const NURSE = { user: 'nurse7', password: 'invented-nurse' };
const ENGINEER = { user: 'engineer1', password: 'invented-engineer' };
const VIEWER = { user: 'wall1', password: 'invented-wall' };

/** Contrast of two colours after a matrix of colour vision on linear light (Viénot 1999; luminance alone). */
const VISION = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  deuteranopia: [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
  achromatopsia: Array(3).fill([0.2126, 0.7152, 0.0722]),
};
export function contrast(one, two, matrix) {
  const light = (text) => {
    const rgb = /(\d+(?:\.\d+)?)[ ,]+(\d+(?:\.\d+)?)[ ,]+(\d+(?:\.\d+)?)/.exec(text).slice(1, 4).map((v) => { const c = Number(v) / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    const [r, g, b] = matrix.map((row) => Math.min(1, Math.max(0, row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2])));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high, low] = [light(one), light(two)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

export default () => house([2, 3, 17, '17b', 13, 14, 25, 18], 'people at stations', async () => {
  const service = await Service.start({ name: 'people', head: '', config: '[episodes]\ncollapse_beds = 1000\ncollapse_share = 1.0\n', users: [['nurse7', 'nurse', NURSE.password], ['engineer1', 'engineer', ENGINEER.password], ['wall1', 'viewer', VIEWER.password]] });
  const secret = { name: 'QZXNAMEQ^QZXGIVENQ', record: 'QZXRECORDQ', born: '19311213' };
  const beds = named('icu', 12, 0, secret);
  const note = 'NTE|1||QZXNOTEQ seen by QZXDOCTORQ at QZXSTREETQ 4\r';
  const wire = await Wire.open(service.ports.mqtt, ENGINEER);
  wire.keep = true;
  const gateway = await Gateway.start(service.ports.mllp[0], beds);
  const one = await open(service, '#/ward', NURSE);
  const two = await open(service, '#/ward', VIEWER);
  for (const page of [one, two]) await button(page, 'A12').waitFor();
  await until('the wall, live', async () => /Live MQTT/.test(await chip(two)));
  await sleep(1_500);

  await scenario(2, 'acknowledge round trip', async (say) => {
    await gateway.reuse('A03');
    for (const page of [one, two]) await spoken(page, 'A03', /High/);
    assert.notEqual(await tile(two, 'A03').locator('.strip').evaluate((e) => getComputedStyle(e).animationName), 'none', 'the strip flashes');
    await button(one, 'A03').click();
    await one.locator('#detail-title').waitFor();
    const ack = one.getByRole('button', { name: 'Acknowledge', exact: true }).first();
    await ack.waitFor();
    const seenAt = two.waitForFunction(() => /acknowledged by nurse7/.test(document.querySelector('[data-bed$="/A03"]').getAttribute('aria-label')) && Date.now(), undefined, { polling: 10 }).then((handle) => handle.jsonValue());
    const at = Date.now();
    await ack.click();
    const took = (await seenAt) - at;
    assert.equal(await tile(two, 'A03').evaluate((e) => getComputedStyle(e).borderTopStyle), 'dashed');
    assert.equal(await tile(two, 'A03').locator('.strip').evaluate((e) => getComputedStyle(e).animationName), 'none');
    const event = await until('the event', () => wire.events('A03').find((e) => e.event === 'acknowledged'));
    assert.equal(event.by?.user ?? event.alert.acked?.user, 'nurse7');
    await go(two, '#/alerts');
    await two.locator('tbody tr', { hasText: 'A03' }).first().waitFor();
    await go(two, '#/ward');
    assert.ok(took < 1_000, `${took} ms`);
    say(`click to the other browser ${took} ms (1000), dashed, named, no flash, still listed`);
  });

  await scenario(3, 'acknowledge by mosquitto_pub 3.1.1', async (say) => {
    const base = 'vitalguard/v1/hsp1';
    await gateway.reuse('A05');
    const alert = (await until('the alert', () => wire.events('A05').find((e) => e.event === 'raised'))).alert.id;
    const account = ['-h', '127.0.0.1', '-p', String(service.ports.mqtt), '-V', 'mqttv311', '-u', NURSE.user, '-P', NURSE.password, '-q', '1'];
    const answers = tool('mosquitto_sub', [...account, '-v', '-t', `${base}/rsp/nurse7/#`]);
    await sleep(500);
    const pub = (topic, document, ...more) => run('mosquitto_pub', [...account, '-t', topic, '-m', JSON.stringify(document), ...more]).catch((error) => error);
    const answer = (id) => until(`the answer ${id}`, () => { const line = answers.text.split('\n').find((text) => text.startsWith(`${base}/rsp/nurse7/${id} `)); return line && JSON.parse(line.slice(line.indexOf('{'))); }, 6_000);
    await pub(`${base}/cmd/other/ack`, { request_id: 'foreign', alert });
    await pub(`${base}/cmd/nurse7/ack`, { request_id: 'kept', alert }, '-r');
    // The embedded broker drops it before anybody hears it; behind another broker the service answers.
    const kept = await answer('kept').then((said) => said.code, () => 'dropped by the broker');
    assert.ok(['RETAINED_REFUSED', 'dropped by the broker'].includes(kept), kept);
    const fresh = await Wire.open(service.ports.mqtt, ENGINEER);
    await sleep(500);
    assert.equal(fresh.of('/cmd/').length, 0, 'it was not kept');
    fresh.end();
    assert.equal(wire.state('icu', 'A05').active.find((a) => a.id === alert).state, 'active', 'neither of them has acknowledged');
    assert.ok(!answers.text.includes('foreign') && wire.of('/rsp/').every((m) => m.document?.request_id !== 'foreign'));
    assert.equal(wire.of('/cmd/other/').length, 0, 'a foreign segment never reaches a subscriber');
    const at = Date.now();
    await pub(`${base}/cmd/nurse7/ack`, { request_id: 'r-3', alert });
    const said = await answer('r-3');
    assert.deepEqual([said.status, said.alert_state, said.alert], ['ok', 'acknowledged', alert]);
    say(`answer on rsp/nurse7/r-3 after ${Date.now() - at} ms; foreign segment without effect; retained: ${kept}, not kept`);
    answers.kill();
  });

  await scenario(13, 'an untrusted value stays readable', async (say) => {
    const value = tile(one, 'A03').locator('.n-untrusted .value').first();
    await value.waitFor();
    assert.match(await value.innerText(), /\d/);
    assert.match(await tile(one, 'A03').innerText(), /NOT TRUSTED/);
    assert.match(await tile(one, 'A03').locator('.n-untrusted .label').first().innerText(), /✕/);
    const [ink, ...grounds] = await value.evaluate((e) => {
      const style = getComputedStyle(e);
      let under = e;
      while (under && /, 0\)|transparent/.test(getComputedStyle(under).backgroundColor)) under = under.parentElement;
      return [style.color, getComputedStyle(under).backgroundColor, ...(style.backgroundImage.match(/rgba?\([^)]*\)|color\([^)]*\)/g) ?? [])];
    });
    const solid = grounds.filter((text) => !/, 0\)/.test(text) && /^rgb/.test(text));
    const lowest = Object.fromEntries(Object.entries(VISION).map(([kind, matrix]) => [kind, Math.min(...solid.map((ground) => contrast(ink, ground, matrix)))]));
    for (const [kind, ratio] of Object.entries(lowest)) assert.ok(ratio >= 4.5, `${kind} ${ratio}`);
    say(`contrast ${Object.entries(lowest).map(([kind, ratio]) => `${kind} ${ratio.toFixed(1)}`).join(', ')} (4.5), ✕ and word there`);
  });

  await scenario(14, 'keyboard only', async (say) => {
    await go(one, '#/ward');
    await gateway.reuse('A02');
    await spoken(one, 'A02', /High/);
    await button(one, 'A01').focus();
    await one.keyboard.press('ArrowRight');
    await one.keyboard.press('Enter');
    await one.locator('#detail-title', { hasText: 'A02' }).waitFor();
    assert.match(await one.locator('.detail').innerText(), /changed or repeated|MSH-10/);
    await one.keyboard.press('a');
    await spoken(one, 'A02', /acknowledged by nurse7/);
    await one.keyboard.press('Escape');
    await one.waitForFunction(() => document.activeElement?.dataset?.bed === 'icu/A02');
    say('arrow, Enter, read, A, Esc: acknowledged, focus back on the tile');
  });

  await scenario(25, 'motion', async (say) => {
    await gateway.reuse('A07');
    const still = await open(service, '#/ward', { ...VIEWER, reducedMotion: 'reduce' });
    await spoken(still, 'A07', /High/);
    assert.equal(await still.evaluate(() => document.getAnimations().filter((a) => a.playState === 'running').length), 0);
    await close(still);
    await spoken(two, 'A07', /High/);
    const moving = await two.evaluate(() => document.getAnimations().map((a) => ({ of: a.effect.target.className, ms: a.effect.getTiming().duration })));
    assert.ok(moving.length > 0 && moving.every((a) => a.of.includes('strip')), JSON.stringify(moving));
    const changes = await two.evaluate(() => new Promise((done) => {
      const strip = document.querySelector('[data-tile$="/A07"] .strip');
      const seen = [];
      const until = performance.now() + 4_000;
      const look = () => { const style = getComputedStyle(strip); const now = `${style.backgroundColor} ${style.opacity}`; if (seen.at(-1) !== now) seen.push(now); if (performance.now() < until) requestAnimationFrame(look); else done(seen.length - 1); };
      look();
    }));
    const hertz = changes / 2 / 4;
    assert.ok(hertz > 0.3 && hertz <= 3, `${hertz} Hz`);
    const id = wire.events('A07').find((e) => e.event === 'raised').alert.id;
    await (await service.session(NURSE.user, NURSE.password))('POST', '/api/v1/cmd/ack', { request_id: 'm-25', alert: id });
    await spoken(two, 'A07', /acknowledged/);
    assert.equal(await tile(two, 'A07').locator('.strip').evaluate((e) => e.getAnimations().length), 0);
    say(`flash ${hertz.toFixed(2)} Hz (3), strip only; none with reduced motion, none once acknowledged`);
  });

  await scenario(18, 'raw HL7', async (say) => {
    if (wire.state('icu', 'A03').active.length === 0) await gateway.reuse('A03');
    const engineer = await open(service, '#/bed/icu/A03', ENGINEER);
    await engineer.locator('section.raw pre').waitFor();
    await engineer.locator('section.raw mark').first().waitFor();
    const raw = await engineer.locator('section.raw pre').innerText();
    const marked = await engineer.locator('section.raw mark').allInnerTexts();
    assert.match(raw, /^MSH\|/);
    const bed = beds.find((b) => b.bed === 'A03');
    assert.ok(raw.includes(`${bed.eui}`) || raw.includes('INVENTED'), 'of this sender');
    assert.ok(TOKENS.every((token) => !raw.includes(token)), 'masked');
    await engineer.getByRole('button', { name: /Whole message/ }).click();
    await engineer.waitForFunction(() => document.querySelector('section.raw pre').textContent.includes('QZXNAMEQ'));
    const asEngineer = await service.session(ENGINEER.user, ENGINEER.password);
    await until('the entry of the audit', async () => /message/.test((await asEngineer('GET', '/api/v1/audit')).text), 5_000);
    const nurse = await (await service.session(NURSE.user, NURSE.password))('GET', `/api/v1/messages/${encodeURIComponent(wire.events('A03').find((e) => e.event === 'raised').alert.evidence[0].raw)}?full=1`);
    assert.equal(nurse.status, 403);
    await close(engineer);
    say(`marked ${JSON.stringify(marked.slice(0, 3))}, PID masked; whole message for the engineer, audited; nurse 403`);
  });

  await scenario(17, 'privacy', async (say) => {
    for (const bed of beds) void gateway.line(bed).send(bed.message({ more: note }));
    await sleep(1_000);
    let bytes = 0;
    for (const who of [NURSE, VIEWER, ENGINEER]) {
      const page = await open(service, '#/ward', who);
      for (const hash of [...PAGES.map((p) => `#/${p}`), '#/bed/icu/A03']) {
        await go(page, hash);
        await page.waitForTimeout(400);
        const text = await page.evaluate(() => document.documentElement.outerHTML + document.title + location.href + JSON.stringify(localStorage) + JSON.stringify(sessionStorage));
        bytes += text.length;
        for (const token of TOKENS) assert.ok(!text.includes(token), `${token} on ${hash} for ${who.user}`);
      }
      const shown = await page.getByRole('button', { name: /Show name/ }).count();
      assert.equal(shown, who === VIEWER ? 0 : 1, `name toggle for ${who.user}`);
      await close(page);
    }
    for (const token of TOKENS) {
      assert.ok(!wire.text.some((text) => text.includes(token)), `${token} on MQTT`);
      assert.ok(!service.log.includes(token), `${token} in the log`);
      assert.ok(![...asked].some((url) => url.includes(token)), `${token} in an address`);
    }
    const refused = await (await service.session(VIEWER.user, VIEWER.password))('GET', '/api/v1/names/icu/A03');
    assert.equal(refused.status, 403);
    const page = await open(service, '#/ward', NURSE);
    await page.clock.install();
    await go(page, '#/bed/icu/A03');
    await page.getByRole('button', { name: /Show name/ }).click();
    await page.getByText('QZXNAMEQ').first().waitFor();
    assert.doesNotMatch(await page.evaluate(() => location.href + document.title + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)), /QZX/);
    await page.clock.fastForward(119_000);
    assert.equal(await page.getByText('QZXNAMEQ').count(), 1, 'still there before the end');
    await page.clock.fastForward(2_000);
    await page.getByText('QZXNAMEQ').first().waitFor({ state: 'detached' });
    await close(page);
    say(`${TOKENS.length} tokens in ${(bytes / 1e6).toFixed(1)} MB of pages, ${(wire.bytes / 1e6).toFixed(1)} MB of MQTT, ${asked.size} addresses, ${service.log.length} bytes of log: none; name for a nurse alone (viewer 403), gone after 120 s`);
  });

  assert.match(await chip(two), /Live MQTT/);
  await scenario('17b', 'a wall display outlives a restart', async (say) => {
    await go(two, '#/ward?kiosk=1');
    const left = await service.session(NURSE.user, NURSE.password);
    assert.equal((await left('DELETE', '/api/v1/session')).status, 204);
    await service.kill('SIGKILL');
    const at = Date.now();
    await two.locator('[data-not-live]').waitFor({ timeout: 10_000 });
    await service.again();
    await gateway.reopen();
    for (const page of [one, two]) {
      await page.waitForFunction(() => document.querySelector('[data-not-live]') === null && /Live MQTT/.test(document.querySelector('[data-chip]')?.textContent ?? ''), undefined, { timeout: 30_000 });
      assert.equal(await page.locator('input[name=password]').count(), 0, 'nobody is asked to log in');
    }
    const took = Date.now() - at;
    assert.equal((await left('GET', '/api/v1/state')).status, 401, 'who has logged out stays so');
    await gateway.reuse('A09');
    await spoken(one, 'A09', /High/);
    await button(one, 'A09').click();
    await one.getByRole('button', { name: 'Acknowledge', exact: true }).first().click();
    await spoken(two, 'A09', /acknowledged by nurse7/);
    say(`killed and begun again: wall and nurse live after ${(took / 1000).toFixed(1)} s without a log-in, an acknowledgement as before; who had logged out has to log in`);
  });
  gateway.stop();
  wire.end();
  await service.kill('SIGTERM');
});

// What people do on a case beside opening and closing it: things added from every page, statuses that are followed, bundles with and
// without identities, filing, withdrawing, reopening, two who close at once.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import { agree, confirmCase, FIRST, NURSE, openCase, press, SECOND } from './casehouse.mjs';
import { BINARY, folder, run, sleep, until } from './house.mjs';
import { close, go, open, spoken, violations } from './pages.mjs';
import { scenario } from './report.mjs';
import { Wire } from './wire.mjs';

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
/** `HH:MM:SS` more than `local` has. */
const second = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);

/** Files of a zip by name; those that are stored or deflated. */
function unzipped(bytes) {
  const files = new Map();
  let at = bytes.readUInt32LE(bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1')) + 16);
  while (bytes.readUInt32LE(at) === 0x02014b50) {
    const [method, size, named, extra, comment, from] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20), bytes.readUInt16LE(at + 28), bytes.readUInt16LE(at + 30), bytes.readUInt16LE(at + 32), bytes.readUInt32LE(at + 42)];
    const begin = from + 30 + bytes.readUInt16LE(from + 26) + bytes.readUInt16LE(from + 28);
    const packed = bytes.subarray(begin, begin + size);
    files.set(bytes.toString('utf8', at + 46, at + 46 + named), method === 0 ? packed : inflateRawSync(packed));
    at += 46 + named + extra + comment;
  }
  return files;
}

/** By the keyboard: opens the form of a thing, chooses the case, adds it. */
async function addTo(page, label, into) {
  await press(page, label);
  const form = page.locator('[data-add]').filter({ has: page.getByRole('button', { name: label }) }).first().locator('form');
  await form.locator('select').focus();
  await form.locator('select').selectOption(into);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
}

export default async function casework({ service, gateway, page }) {
  const api = await service.session(FIRST.user, FIRST.password);
  const whole = async (id) => (await api('GET', `/api/v1/cases/${id}`)).json;
  const items = async (id, kind) => (await whole(id)).case.items.filter((one) => one.item === kind);
  let id;

  await scenario('cases', 'things are added to a case from the page', async (say) => {
    for (const bed of ['A01', 'A02', 'A06']) await gateway.reuse(bed);
    await go(page, '#/ward');
    for (const bed of ['A01', 'A02', 'A06']) await spoken(page, bed, /High/);
    await go(page, '#/cases');
    await page.locator('summary', { hasText: 'Open a case without an alert' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('input[name=title]').fill('invented: two beds at once');
    await page.keyboard.press('Enter');
    await page.waitForURL(/#\/cases\/C-/);
    id = /C-[0-9TZa-f-]+/.exec(page.url())[0];
    assert.equal((await whole(id)).case.items.length, 0);

    await go(page, '#/bed/icu/A02');
    await addTo(page, /^Add to an open case …$/, id);
    await page.getByText(/In a case:/).filter({ hasText: id }).waitFor();
    assert.equal((await items(id, 'alert')).length, 1);
    assert.ok((await items(id, 'range')).some((one) => one.bed === 'A02'), 'with what belongs to it');

    await go(page, '#/bed/icu/A06');
    const key = /^[^ ]+\.\d+/.exec(await page.locator('.raw p.mono').innerText())[0];
    await addTo(page, /^Add this message to a case …$/, id);
    await page.getByText(`Added to ${id}`).waitFor();
    assert.ok((await items(id, 'messages')).some((one) => one.raw.length === 1 && one.raw[0] === key), `the message that is shown, ${key}`);
    await addTo(page, /^Add this message to a case …$/, id);
    await page.locator('.toast.shown', { hasText: 'It stands in the case already' }).waitFor();

    await page.getByLabel('HR /min').fill('71');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Add this check to a case …' }).waitFor();
    await addTo(page, /^Add this check to a case …$/, id);
    await page.locator('[data-add=spot_check]').getByText(`Added to ${id}`).waitFor();
    assert.equal((await items(id, 'spot_check')).length, 1);

    const now = Date.now();
    const time = page.locator('section.time');
    await time.getByLabel('From').fill(second(now));
    await time.getByLabel('To').fill(second(now - 30_000));
    await press(page, /^Add these messages to a case …$/);
    await time.getByText(/must lie before/).waitFor();
    await time.locator('select').selectOption(id);
    assert.ok(await time.getByRole('button', { name: 'Add', exact: true }).isDisabled());
    await time.getByLabel('From').fill(second(now - 30_000));
    await time.getByLabel('To').fill(second(now));
    await press(time, /^Add$/);
    await time.getByText(`Added to ${id}`).waitFor();
    const [bedTime] = (await items(id, 'range')).filter((one) => one.bed === 'A06');
    assert.ok(Date.parse(bedTime.to) - Date.parse(bedTime.from) === 30_000 && bedTime.last > bedTime.first, JSON.stringify(bedTime));

    await go(page, '#/devices');
    const device = await page.locator('[data-add=device] > button').first().getAttribute('aria-label');
    await addTo(page, new RegExp(`^${device}$`), id);
    await page.locator('[data-add=device]').getByText(`Added to ${id}`).waitFor();
    const devices = new Set((await items(id, 'device')).map((one) => one.id));
    assert.ok(devices.has(/dev-[0-9a-f]+/.exec(device)[0]), device);

    const [capture, large] = [Buffer.from('invented bytes of a capture'), join(folder('capture'), 'large.pcap')];
    writeFileSync(large, '');
    truncateSync(large, 64 * 1_048_576 + 1);
    await go(page, `#/cases/${id}`);
    const add = page.locator('[data-case-add]');
    await add.locator('summary').focus();
    await page.keyboard.press('Enter');
    await add.locator('input[type=file]').setInputFiles(large);
    await add.getByText(/This file has 64\.1 MiB: at most 64 MiB/).waitFor();
    assert.ok(await add.getByRole('button', { name: 'Add', exact: true }).isDisabled());
    await add.locator('input[type=file]').setInputFiles({ name: 'ward 7.pcap', mimeType: 'application/octet-stream', buffer: capture });
    assert.equal(await add.locator('input[name=capture-name]').inputValue(), 'ward_7.pcap');
    await add.locator('input[name=capture-name]').press('Enter');
    await add.getByText('Added.').waitFor();
    const [kept] = await items(id, 'capture');
    assert.deepEqual([kept.name, kept.sha256, kept.bytes], ['ward_7.pcap', sha256(capture), capture.length]);
    await add.locator('input[type=file]').setInputFiles({ name: 'ward_7.pcap', mimeType: 'application/octet-stream', buffer: Buffer.from('other bytes') });
    await add.locator('input[name=capture-name]').press('Enter');
    await page.locator('.toast.shown', { hasText: 'It stands in the case already' }).waitFor();
    assert.equal((await items(id, 'capture')).length, 1);
    await add.getByLabel('What').selectOption('messages');
    await add.getByLabel(/Keys of the messages/).fill('icu.99999999');
    await press(add, /^Add$/);
    await page.locator('.toast.shown', { hasText: 'nothing of that name is kept here' }).waitFor();
    // The answer to a body that is too large, for whoever sends one all the same.
    const refused = await page.evaluate(async ([path, bytes]) => (await fetch(path, { method: 'PUT', headers: { 'X-CSRF-Token': (await (await fetch('/api/v1/session')).json()).csrf }, body: new Uint8Array(bytes) }).catch(() => ({ status: 0 }))).status, [`/api/v1/cases/${id}/captures/big.pcap`, 64 * 1_048_576 + 1]);
    assert.ok([413, 0].includes(refused), `${refused}`);
    assert.equal((await items(id, 'capture')).length, 1);

    const nurse = await open(service, '#/bed/icu/A06', NURSE);
    await nurse.locator('.raw pre').waitFor();
    assert.equal(await nurse.locator('[data-add]').count(), 0, 'a nurse reads');
    await close(nurse);
    const found = [];
    for (const [lang, theme] of [['en', 'dark'], ['it', 'light']]) {
      const other = await open(service, '#/bed/icu/A01', { ...SECOND, lang, theme, reducedMotion: 'reduce', locale: lang === 'it' ? 'it-IT' : 'en-GB' });
      await other.locator('.raw pre').waitFor();
      for (const one of await other.locator('[data-add] > button').all()) await one.click();
      await other.locator('.history .small').first().click();
      found.push(...(await violations(other)).map((text) => `bed ${lang} ${theme}: ${text}`));
      await go(other, '#/devices');
      await other.locator('[data-add=device] > button').first().click();
      found.push(...(await violations(other)).map((text) => `devices ${lang} ${theme}: ${text}`));
      await close(other);
    }
    assert.deepEqual(found, []);
    say(`an alert, the message shown (${key}), a bedside check, 30 s of a bed, a device, a capture of ${capture.length} bytes by the keyboard; twice, unknown, out of order and 64 MiB + 1 refused in words; nurse has none; axe clean, it and en, dark and light`);
  });

  await scenario('cases', 'the status of a case is followed, not asked for', async (say) => {
    const pages = { mqtt: await open(service, `#/cases/${id}`, { ...SECOND }), events: await open(service, `#/cases/${id}`, { ...NURSE, quiet: true }) };
    await pages.events.route('**/api/v1/credentials', (route) => route.abort());
    await pages.events.reload();
    await pages.events.locator('[data-chip]', { hasText: 'Direct' }).waitFor();
    await pages.mqtt.locator('[data-chip]', { hasText: 'Live MQTT' }).waitFor();
    const times = { mqtt: [], events: [] };
    const note = async (text) => {
      const at = Date.now();
      assert.equal((await api('POST', `/api/v1/cases/${id}/steps`, { step: { step: 'note', text } })).status, 200);
      await Promise.all(Object.entries(pages).map(async ([way, one]) => {
        await one.locator('.words', { hasText: text }).first().waitFor();
        times[way].push(Date.now() - at);
      }));
    };
    const wire = await Wire.open(service.ports.mqtt, { ...FIRST, filter: 'vitalguard/v1/+/case/+/status' });
    for (const n of [1, 2, 3]) await note(`invented note ${n}`);
    const calls = [];
    for (const one of Object.values(pages)) one.on('request', (request) => /\/api\/v1\/cases/.test(request.url()) && calls.push(request.url()));
    // Longer than a page that asks would wait.
    await sleep(32_000);
    assert.deepEqual(calls, []);
    await note('invented note 4');
    assert.ok(Math.max(...times.mqtt, ...times.events) < 4_000, JSON.stringify(times));
    // The document at the broker, judged by its schema: versions and nobody's words.
    const documents = await until('the newest version at the broker', async () => {
      const heard = wire.of(`/case/${id}/`).map(({ document }) => document);
      return heard.at(-1)?.version === (await whole(id)).case.version && heard;
    });
    assert.ok(documents.length >= 4 && !/invented/.test(JSON.stringify(documents)), JSON.stringify(documents));
    wire.end();
    for (const one of Object.values(pages)) await close(one);
    say(`a note on another page after ${times.mqtt.join(', ')} ms by MQTT, ${times.events.join(', ')} ms by server-sent events; no request in 32 s without a change`);
  });

  await scenario('cases', 'bundles, filing, withdrawing, reopening', async (say) => {
    await go(page, '#/ward');
    await gateway.reuse('A07');
    await spoken(page, 'A07', /High/);
    const one = await openCase(page, 'icu/A07');
    const download = async (selector) => {
      const [file] = await Promise.all([page.waitForEvent('download'), page.locator(selector).focus().then(() => page.keyboard.press('Enter'))]);
      return [readFileSync(await file.path()), await file.path()];
    };
    const [masked] = await download('[data-bundle]');
    await page.locator('[data-exports] li', { hasText: 'pseudonymised' }).waitFor();
    assert.equal(await page.locator('[data-bundle-identified]').count(), 0);
    await page.locator('summary', { hasText: 'With identities' }).focus();
    await page.keyboard.press('Enter');
    await page.getByLabel('I need the identities for this case').focus();
    await page.keyboard.press('Space');
    const [clear, path] = await download('[data-bundle-identified]');
    const line = page.locator('[data-exports] li', { hasText: 'identified' });
    await line.waitFor();
    const shown = await line.innerText();
    assert.ok(shown.includes('engineer1') && shown.includes(`sha256:${sha256(clear).slice(0, 16)}`), shown);
    await page.locator('.steps tr', { hasText: 'exported' }).filter({ hasText: 'identified' }).waitFor();
    await page.locator('[data-bundle-identified]').waitFor({ state: 'detached' });
    const steps = (await whole(one)).steps.filter((row) => row.step.step === 'export');
    assert.deepEqual(steps.map(({ step, user }) => [user, step.identified, step.sha256]), [['engineer1', false, sha256(masked)], ['engineer1', true, sha256(clear)]]);
    const said = (bytes) => [...unzipped(bytes)].filter(([name]) => name.startsWith('messages/')).map(([, content]) => content.toString('latin1')).join('');
    assert.ok(said(clear).includes('Invented^Patient') && said(clear).includes('SYN-A07'), 'identities after an explicit choice');
    const all = [...unzipped(masked)].map(([name, content]) => name + content.toString('latin1')).join('');
    assert.ok(said(masked).includes('OBX|') && !all.includes('Invented^Patient') && !all.includes('SYN-A07'), 'and none without it');
    const { stdout } = await run(BINARY, ['verify', path]);

    await agree(page, await confirmCase(page, 'serious_incident', 2));
    await agree(page, await confirmCase(page, 'nis_is2', 1));
    const clock = (name) => page.locator(`[data-clock-of="${name}"]`);
    await clock('it-serious-10d').waitFor();
    await page.locator('summary', { hasText: 'Record a filing' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('[data-file] select').selectOption('ministry-it');
    await page.locator('[data-file] input').fill('2026/INVENTED-17');
    await page.keyboard.press('Enter');
    await page.locator('[data-filings] li', { hasText: '2026/INVENTED-17' }).waitFor();
    await clock('it-serious-10d').getByText(/filed, as stated by engineer1/).waitFor();
    const running = async () => (await whole(one)).clocks.filter((row) => row.state.is === 'running').map((row) => row.id);
    assert.ok(!(await running()).includes('it-serious-10d') && (await running()).length > 0);

    await page.locator('[data-confirmed=nis_is2]').getByRole('button', { name: 'Withdraw …' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('[data-confirmed=nis_is2] input').fill('invented: it was the probe');
    await page.keyboard.press('Enter');
    await page.locator('[data-confirmed=nis_is2]').getByText(/withdrawn by engineer1, .*it was the probe/).waitFor();
    await page.getByText(/stopped: withdrawn by engineer1/).first().waitFor();
    assert.ok(!(await running()).some((name) => name.startsWith('nis2')), `${await running()}`);

    // Two who close at once: one does, the other is told who and when; what he has typed does not reopen it.
    const other = await open(service, `#/cases/${one}`, { ...SECOND, lang: 'it' });
    await other.locator('[data-state=open]').waitFor();
    await Promise.all([page, other].map((each) => each.locator('input[name=reason]').fill('invented: nothing to add')));
    await Promise.all([page, other].map((each) => each.locator('input[name=reason]').press('Enter')));
    await Promise.all([page, other].map((each) => each.locator('[data-state=closed]').waitFor()));
    const told = await until('one of them to be told', async () => {
      const both = await Promise.all([page, other].map((each) => each.locator('.toast.shown').innerText().catch(() => '')));
      return both.find((text) => /^(Not stored: engineer2 has closed this case, \d|Non salvato: engineer1 ha chiuso questo caso, \d)/.test(text));
    }, 6_000);
    assert.equal((await whole(one)).steps.filter((row) => ['close', 'reopen'].includes(row.step.step)).length, 1);
    // And one who is about to close when another does.
    await other.locator('input[name=reason]').fill('nuovi dati inventati');
    await other.keyboard.press('Enter');
    await page.locator('[data-state=open]').waitFor();
    await page.getByRole('button', { name: /^Confirm a suspicion/ }).waitFor();
    await page.locator('.steps tr', { hasText: 'reopened' }).filter({ hasText: 'nuovi dati inventati' }).waitFor();
    await page.locator('input[name=reason]').fill('invented: mine');
    await other.locator('input[name=reason]').fill('chiuso da me');
    await other.keyboard.press('Enter');
    await page.locator('.toast.shown', { hasText: /engineer2 has closed this case, \d/ }).waitFor();
    await page.locator('[data-state=closed]').waitFor();
    assert.equal(await page.locator('input[name=reason]').inputValue(), '');
    await close(other);
    await page.locator('summary', { hasText: 'Let the evidence go' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('input[name=release]').fill('invented: nobody needs it');
    await page.keyboard.press('Enter');
    await page.getByText(/The evidence was let go by engineer1/).waitFor();
    say(`masked and identified bundle, ${masked.length} and ${clear.length} bytes, both written down, identities in one alone, ${/^.*$/m.exec(stdout)[0]}; filed and withdrawn terms stop; "${told}"; reopened; let go`);
  });
}

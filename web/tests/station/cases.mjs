// Scenario cases: from an alert to a closed case, by the keyboard; what a nurse and a wall see; two people who close; axe and pictures.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { agree, confirmCase, FIRST, NURSE, openCase, SECOND, VIEWER } from './casehouse.mjs';
import casework from './casework.mjs';
import { Gateway, named } from './feed.mjs';
import { made, Service, until } from './house.mjs';
import { button, close, go, open, spoken, violations } from './pages.mjs';
import { house, scenario } from './report.mjs';
import { unfit } from './wire.mjs';

/** What an operator may paste; it must stay text. */
const HOSTILE = '<img src=x onerror="document.title=1">CMS8000';

export default () => house(['cases'], 'cases', async () => {
  const users = [['engineer1', 'engineer', FIRST.password], ['engineer2', 'engineer', SECOND.password], ['nurse7', 'nurse', NURSE.password], ['wall1', 'viewer', VIEWER.password]];
  const service = await Service.start({ name: 'cases', head: '', config: '[episodes]\ncollapse_beds = 1000\ncollapse_share = 1.0\n', users });
  const gateway = await Gateway.start(service.ports.mllp[0], named('icu', 8, 0, {}));
  const page = await open(service, '#/ward', { ...FIRST, reducedMotion: 'reduce' });
  await button(page, 'A08').waitFor();

  await scenario('cases', 'from an alert to a closed case', async (say) => {
    const api = await service.session(FIRST.user, FIRST.password);
    await gateway.reuse('A03');
    await spoken(page, 'A03', /High/);
    assert.equal(await page.locator('[data-term]').count(), 0, 'no term runs before a person has spoken');
    const id = await openCase(page, 'icu/A03');
    assert.match(await page.locator('main').innerText(), /No term runs/);

    const dialog = await confirmCase(page, 'serious_incident', 2);
    assert.match(await dialog.innerText(), /You state: “Serious incident/);
    assert.ok(await dialog.getByRole('button', { name: 'Confirm', exact: true }).isDisabled(), 'not before it was read');
    assert.deepEqual(await violations(page), [], 'dialog');
    await agree(page, dialog);
    const row = page.locator('[data-clock-of="it-serious-10d"]');
    await row.waitFor();
    const said = await row.innerText();
    assert.match(said, /If this is a serious incident .* then/s);
    assert.match(said, /secondary source/);
    assert.match(said, /verify against the text in force/);
    assert.match(said, /9 d 2[12] h left/);
    await page.locator('[data-term]', { hasText: /Term\s*9 d/ }).waitFor();
    assert.match(await page.locator('[data-term]').getAttribute('title'), /9 d 2[12] h left; verify against the text in force/);
    const [clock] = (await api('GET', `/api/v1/cases/${id}`)).json.clocks;
    const days = (Date.parse(clock.due_at) - Date.parse(clock.starts_at)) / 86_400_000;
    assert.ok(Math.abs(days - 10) < 0.05, `${days} days`);

    const group = page.locator('details[data-group=device]');
    await group.locator('summary').focus();
    await page.keyboard.press('Enter');
    await group.getByLabel(/^Model/).fill(HOSTILE);
    await page.keyboard.press('Enter');
    await page.locator('.toast', { hasText: 'Stored' }).waitFor();

    const [drafts, found] = [[], []];
    for (const [form, lang] of [['ministry-it', 'it'], ['nis2-notification', 'en'], ['cfr803', 'en']]) {
      const [draft] = await Promise.all([page.context().waitForEvent('page'), page.locator(`[data-form=${form}] a[href*="lang=${lang}&format=html"]`).click()]);
      await draft.waitForLoadState();
      const text = await draft.locator('body').innerText();
      assert.ok(text.includes(lang === 'it' ? 'BOZZA - non inviata - campi non verificati' : 'DRAFT - not sent - fields not verified'), form);
      assert.ok(text.includes(lang === 'it' ? 'da completare' : 'to be completed') && text.includes(lang === 'it' ? 'verificare sul testo in vigore' : 'verify against the text in force'), form);
      if (form !== 'nis2-notification') assert.ok(text.includes(HOSTILE) && text.includes('engineer1'), 'the value, as text, with who said it');
      if (form === 'ministry-it') assert.ok(text.includes('07/02/2025, prot. 0010860') && text.includes('Se si tratta di un incidente grave'));
      assert.equal(await draft.locator('img, script').count(), 0);
      found.push(...(await violations(draft, ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'])).map((text) => `draft ${form}: ${text}`));
      await draft.close();
      drafts.push(form);
    }

    let [documents, values] = [0, 0];
    for (const { id: form } of (await api('GET', '/api/v1/cases/forms')).json.forms) for (const lang of ['it', 'en']) {
      const { json } = await api('GET', `/api/v1/cases/${id}/drafts/${form}?lang=${lang}&format=json`);
      assert.equal(unfit('draft/1', json), '', `${form} ${lang}`);
      for (const field of json.sections.flatMap((section) => section.fields)) {
        assert.ok(field.known ? field.values.every((one) => one.source) : field.value === (lang === 'it' ? 'da completare' : 'to be completed'), field.key);
        values += field.known ? field.values.length : 0;
      }
      documents += 1;
    }
    assert.ok(documents === 14 && values > 14, `${documents} documents, ${values} values`);

    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('[data-bundle]').click()]);
    const bundle = readFileSync(await download.path());
    assert.equal(bundle.subarray(0, 2).toString(), 'PK');
    await page.getByText(/sha256:[0-9a-f]{16}/).waitFor();
    assert.equal(await page.locator('[data-bundle-identified]').count(), 0, 'identities only after a choice of their own');
    await page.getByText('With identities …').click();
    assert.match(await page.locator('main').innerText(), /names and record numbers of patients in clear/);
    await page.getByLabel('I need the identities for this case').check();
    await page.locator('[data-bundle-identified]').waitFor();

    const nurse = await open(service, `#/cases/${id}`, NURSE);
    await nurse.locator('[data-state=open]').waitFor();
    assert.match(await nurse.locator('main').innerText(), /you may read/);
    assert.equal(await nurse.getByRole('button', { name: /Confirm a suspicion|Close the case|Add the note/ }).count(), 0);
    assert.equal(await nurse.locator('[data-bundle]').count(), 0);
    await close(nurse);
    const wall = await open(service, `#/cases/${id}`, VIEWER);
    await wall.getByText('Your role may not see this.').waitFor();
    assert.equal(await wall.getByRole('link', { name: 'Cases' }).count(), 0);
    await close(wall);

    for (const lang of ['en', 'it']) for (const theme of ['dark', 'light']) {
      const other = await open(service, `#/cases/${id}`, { ...SECOND, lang, theme, reducedMotion: 'reduce', locale: lang === 'it' ? 'it-IT' : 'en-GB' });
      await other.locator('[data-clock-of]').first().waitFor();
      for (const details of await other.locator('main details').all()) await details.evaluate((e) => { e.open = true; });
      found.push(...(await violations(other)).map((text) => `case ${lang} ${theme}: ${text}`));
      await go(other, '#/cases');
      await other.locator(`[data-case="${id}"]`).waitFor();
      found.push(...(await violations(other)).map((text) => `list ${lang} ${theme}: ${text}`));
      await close(other);
    }
    assert.deepEqual(found, []);

    const second = await open(service, `#/cases/${id}`, { ...SECOND, lang: 'it' });
    await second.locator('[data-state=open]').waitFor();
    await second.locator('input[name=reason]').fill('doppio');
    await page.locator('input[name=reason]').fill('invented: looked at, nothing to add');
    await page.locator('input[name=reason]').press('Enter');
    await page.locator('[data-state=closed]').waitFor();
    await second.locator('input[name=reason]').press('Enter');
    await second.locator('.toast.shown', { hasText: /engineer1 ha chiuso questo caso, \d/ }).waitFor();
    await second.locator('[data-state=closed]').waitFor();
    await close(second);
    await until('the term to go on after the closing', async () => (await page.locator('[data-term]').count()) === 1);
    const steps = (await api('GET', `/api/v1/cases/${id}`)).json.steps.map((one) => one.step.step);
    for (const step of ['open', 'add', 'confirm', 'set', 'export', 'close']) assert.ok(steps.includes(step), `${step} in ${steps}`);
    assert.equal(steps.filter((step) => step === 'close').length, 1);
    say(`opened, confirmed, closed by the keyboard; term 10 d from the stated time, in the header; drafts ${drafts.join(', ')} with hostile text as text, ${documents} as JSON that fit draft/1 (${values} values, each with its source); bundle ${bundle.length} bytes; second closing refused with name and time; nurse reads, wall does not; axe clean on list, case and dialog, it and en, dark and light`);
  });

  await casework({ service, gateway, page });

  if (process.env.VG_SCREENSHOTS_CASES) await scenario('cases', 'pictures of the cases', async (say) => {
    for (const lang of ['en', 'it']) {
      const shot = await open(service, '#/ward', { ...FIRST, lang, locale: lang === 'it' ? 'it-IT' : 'en-GB', theme: 'light', reducedMotion: 'reduce', viewport: { width: 1366, height: 1000 } });
      const bed = lang === 'en' ? 'A04' : 'A05';
      await gateway.reuse(bed);
      await spoken(shot, bed, /High|Alta/);
      await openCase(shot, `icu/${bed}`);
      await agree(shot, await confirmCase(shot, 'nis_is2', 3));
      await shot.locator('[data-clock-of]').first().waitFor();
      await shot.locator('[data-chip]', { hasText: /Live MQTT|MQTT/ }).waitFor();
      await shot.locator('.toast.shown').waitFor({ state: 'detached' });
      await shot.screenshot({ path: join(made(process.env.VG_SCREENSHOTS_CASES), `cases-${lang}.png`) });
      await close(shot);
    }
    say(`cases-en.png, cases-it.png in ${process.env.VG_SCREENSHOTS_CASES}`);
  });
  gateway.stop();
  await service.kill('SIGTERM');
});

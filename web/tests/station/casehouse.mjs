// People who work on cases, and what they press: shared by the scenarios of cases.
import { go } from './pages.mjs';

export const FIRST = { user: 'engineer1', password: 'invented-engineer' };
export const SECOND = { user: 'engineer2', password: 'invented-other' };
export const NURSE = { user: 'nurse7', password: 'invented-nurse' };
export const VIEWER = { user: 'wall1', password: 'invented-wall' };
/** `YYYY-MM-DDTHH:MM` of this machine's zone, as a field for date and time takes it. */
export const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

/** Presses a button of the page, or of a part of it, by the keyboard. */
export async function press(part, name) {
  await part.getByRole('button', { name }).first().press('Enter');
}

/** From the alert of a bed to its new case; gives the case's id. */
export async function openCase(page, bed, name = /^(Open a case|Apri un caso)$/) {
  await go(page, `#/bed/${bed}`);
  await press(page, name);
  await page.waitForURL(/#\/cases\/C-/);
  await page.locator('[data-state=open]').waitFor();
  return /C-[0-9TZa-f-]+/.exec(page.url())[0];
}

/** The dialog of a confirmation, by the keyboard alone; known for `hours`. */
export async function confirmCase(page, kind, hours) {
  await press(page, /^(Confirm a suspicion|Conferma un sospetto) …$/);
  const dialog = page.locator('dialog[open]');
  await dialog.waitFor();
  await dialog.locator(`input[value=${kind}]`).focus();
  await page.keyboard.press('Space');
  await dialog.locator('input[name=since]').fill(local(Date.now() - hours * 3_600_000));
  await page.keyboard.press('Enter');
  await dialog.locator('.sum').waitFor();
  return dialog;
}

export async function agree(page, dialog) {
  await dialog.locator('input[type=checkbox]').focus();
  await page.keyboard.press('Space');
  await press(page, /^(Confirm|Conferma)$/);
  await dialog.waitFor({ state: 'detached' });
}

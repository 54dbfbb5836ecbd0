// What the scenarios do in the browser.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { launch } from '../browser.mjs';

export const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const PAGES = ['ward', 'alerts', 'alerts?list=all', 'alerts?list=engineering', 'cases', 'devices', 'feeds', 'replay', 'about'];
/** Errors that a page has told, over all pages. */
export const faults = [];
/** Every address that a page has asked for. */
export const asked = new Set();
let browser;

export async function open(service, hash = '#/ward', { lang = 'en', user, password, theme, quiet = false, ...rest } = {}) {
  browser ??= await launch();
  const context = await browser.newContext({ viewport: { width: 1366, height: 768 }, ...rest });
  await context.addInitScript(([l, t]) => { localStorage.setItem('vitalguard.lang', l); if (t) localStorage.setItem('vitalguard.theme', t); }, [lang, theme]);
  const page = await context.newPage();
  page.on('request', (request) => asked.add(request.url()));
  page.on('websocket', (socket) => asked.add(socket.url()));
  if (!quiet) {
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => { if (message.type() === 'error' && !/status of (40[1349]|413|503)|net::ERR|WebSocket connection/.test(message.text())) faults.push(message.text()); });
  }
  await page.goto(service.base + '/' + hash);
  if (user) await login(page, user, password);
  return page;
}

export async function login(page, user, password) {
  await page.fill('input[name=user]', user);
  await page.fill('input[name=password]', password);
  await page.keyboard.press('Enter');
  await page.locator('input[name=user]').waitFor({ state: 'detached' });
}

export const closeAll = async () => { await browser?.close(); browser = undefined; };
export const close = (page) => page.context().close();
export const tile = (page, bed) => page.locator(`[data-tile$="/${bed}"]`);
export const button = (page, bed) => page.locator(`[data-bed$="/${bed}"]`);
export const name = (page, bed) => button(page, bed).getAttribute('aria-label');
export const chip = (page) => page.locator('[data-chip]').innerText();
export const go = (page, hash) => page.evaluate((to) => (location.hash = to), hash);

/** Until the spoken name of a bed fits. */
export function spoken(page, bed, pattern, timeout = 20_000) {
  return page.waitForFunction(([b, p]) => new RegExp(p).test(document.querySelector(`[data-bed$="/${b}"]`)?.getAttribute('aria-label') ?? ''), [bed, pattern.source], { timeout, polling: 20 })
    .catch(async (error) => { throw new Error(`bed ${bed} does not say ${pattern}: ${await name(page, bed).catch(() => 'no such tile')} (${error.message.split('\n')[0]})`); });
}

/** In the page, from now on: when each bed's tile first fits a pattern, by the clock of this machine. */
export const watchTiles = (page, pattern) => page.evaluate((source) => {
  const pattern = new RegExp(source);
  window.firstAt = {};
  const look = (element) => { const bed = element.dataset.bed.split('/')[1]; if (window.firstAt[bed] === undefined && pattern.test(element.getAttribute('aria-label') ?? '')) window.firstAt[bed] = Date.now(); };
  document.querySelectorAll('[data-bed]').forEach(look);
  new MutationObserver((changes) => { for (const { target } of changes) if (target.dataset?.bed) look(target); }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ['aria-label'] });
}, pattern.source);

export const violations = (page, tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']) => page.evaluate(`${axe};axe.run(document, { runOnly: ${JSON.stringify(tags)} }).then((r) => r.violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).join(' | ')))`);

export async function performance(page, ms) {
  const client = await page.context().newCDPSession(page);
  await client.send('Performance.enable');
  const metrics = async () => Object.fromEntries((await client.send('Performance.getMetrics')).metrics.map(({ name: key, value }) => [key, value]));
  await client.send('HeapProfiler.collectGarbage');
  const before = await metrics();
  const frames = await page.evaluate((span) => new Promise((resolve) => {
    const spans = [];
    let last = performance.now();
    const end = last + span;
    requestAnimationFrame(function frame(at) { spans.push(at - last); last = at; if (at < end) requestAnimationFrame(frame); else resolve(spans.slice(1)); });
  }), ms);
  const after = await metrics();
  await client.send('HeapProfiler.collectGarbage');
  const cleaned = await metrics();
  const wall = after.Timestamp - before.Timestamp;
  return { main: ((after.TaskDuration - before.TaskDuration) / wall) * 100, script: ((after.ScriptDuration - before.ScriptDuration) / wall) * 100, fps: frames.length / wall, frames, heap: cleaned.JSHeapUsedSize / 1e6, grown: (cleaned.JSHeapUsedSize - before.JSHeapUsedSize) / 1e6 };
}

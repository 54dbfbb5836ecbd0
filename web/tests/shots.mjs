// Pictures of every page in both languages, for people to look at: node tests/shots.mjs FOLDER [only]
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from './browser.mjs';
import { serve } from './fixture.mjs';

const [folder = 'shots', only = ''] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch();
const pages = { ward: '#/ward', bed: '#/bed/icu/A03', alerts: '#/alerts', all: '#/alerts?list=all', devices: '#/devices', feeds: '#/feeds', replay: '#/replay', about: '#/about' };

async function shot(server, name, { hash = '', lang = 'en', width = 1366, height = 768, zoom = 1, theme, before } = {}) {
  if (only && !name.includes(only)) return;
  const context = await browser.newContext({ viewport: { width: Math.round(width / zoom), height: Math.round(height / zoom) }, deviceScaleFactor: zoom, reducedMotion: 'reduce' });
  await context.addInitScript(([l, t]) => { localStorage.setItem('vitalguard.lang', l); if (t) localStorage.setItem('vitalguard.theme', t); }, [lang, theme]);
  const page = await context.newPage();
  page.on('console', (message) => message.type() === 'error' && console.log(name, message.text()));
  page.on('pageerror', (error) => console.log(name, String(error)));
  await page.goto(server.url + hash);
  await page.waitForTimeout(2200);
  if (before) await before(page);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  if (wide) console.log(`${name}: the page is wider than its window`);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await context.close();
}

let server = await serve({ beds: 24 });
for (const lang of ['en', 'it']) {
  for (const [name, hash] of Object.entries(pages)) await shot(server, `${name}-${lang}`, { hash, lang });
  await shot(server, `help-${lang}`, { lang, before: async (page) => { await page.keyboard.press('?'); await page.waitForTimeout(200); } });
  await shot(server, `ward-1920-${lang}`, { lang, width: 1920, height: 1080 });
  await shot(server, `ward-zoom-${lang}`, { lang, zoom: 2 });
  await shot(server, `bed-zoom-${lang}`, { lang, hash: pages.bed, zoom: 2 });
  await shot(server, `alerts-zoom-${lang}`, { lang, hash: pages.alerts, zoom: 2 });
}
await shot(server, 'ward-light', { theme: 'light' });
await shot(server, 'bed-light', { theme: 'light', hash: pages.bed });
await shot(server, 'alerts-dark', { theme: 'dark', hash: pages.alerts });
await shot(server, 'kiosk', { hash: '#/ward?kiosk=1' });
await shot(server, 'bed-lower', { hash: pages.bed, width: 1920, height: 1080, before: async (page) => { await page.evaluate(() => document.querySelector('.detail').scrollTo(0, 700)); await page.waitForTimeout(200); } });
server.mute();
await shot(server, 'not-live-it', { lang: 'it', before: (page) => page.waitForTimeout(8_000) });
server.stop();
for (const beds of [60, 200]) {
  server = await serve({ beds });
  await shot(server, `ward-${beds}`, { width: 1920, height: 1080 });
  await shot(server, `ward-${beds}-small`, {});
  server.stop();
}
server = await serve({ beds: 24, replay: true });
await shot(server, 'replaying', { hash: '#/replay' });
await shot(server, 'replaying-ward', {});
server.stop();
server = await serve({ beds: 24, login: true });
await shot(server, 'login-it', { lang: 'it' });
server.stop();
await browser.close();

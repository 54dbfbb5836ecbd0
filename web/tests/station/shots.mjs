// Pictures of every page of the demo, in both languages; invented data only. VG_SCREENSHOTS names the folder.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { BINARY, freePort, made, sleep, until } from './house.mjs';
import { button, close, go, open } from './pages.mjs';

export default async function shots(into) {
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const child = spawn(BINARY, ['demo', '--mllp', `127.0.0.1:${ports[0]}`, '--mqtt-listen', `127.0.0.1:${ports[1]}`, '--http', `127.0.0.1:${ports[2]}`], { stdio: 'ignore' });
  try {
    const demo = { base: `http://127.0.0.1:${ports[2]}` };
    await until('the demo', async () => (await fetch(`${demo.base}/health`)).ok, 30_000);
    const options = { reducedMotion: 'reduce', viewport: { width: 1366, height: 768 }, quiet: true };
    const pages = await Promise.all(['en', 'it'].map(async (lang) => [lang, await open(demo, '#/ward', { ...options, lang, locale: lang === 'it' ? 'it-IT' : 'en-GB' })]));
    for (const [, page] of pages) await button(page, 'B13').waitFor();
    await sleep(Number(process.env.VG_SCREENSHOTS_AT_S ?? 105) * 1_000);
    for (const [lang, page] of pages) {
      for (const [name, hash] of Object.entries({ ward: '#/ward', bed: '#/bed/icu/B04', alerts: '#/alerts', devices: '#/devices', feeds: '#/feeds', replay: '#/replay', about: '#/about' })) {
        await go(page, hash);
        await page.waitForTimeout(name === 'bed' ? 2_500 : 900);
        await page.screenshot({ path: join(made(into), `${name}-${lang}.png`) });
      }
      await close(page);
    }
  } finally {
    child.kill('SIGTERM');
  }
}

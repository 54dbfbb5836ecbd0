// The acceptance scenarios of the station page against the real program: node tests/station.mjs [scenario …]
// VITALGUARD: the binary. VG_WALL_S: length of scenario 8, s. VG_STRICT=1: every budget is held. VG_SCREENSHOTS=FOLDER: pictures of the demo. VG_SCREENSHOTS_CASES=FOLDER: of scenario cases.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { BINARY, cleanUp } from './station/house.mjs';
import { closeAll, faults } from './station/pages.mjs';
import { scenario, summary } from './station/report.mjs';
import { seen } from './station/wire.mjs';
import * as speed from './station/speed.mjs';
import cases from './station/cases.mjs';
import people from './station/people.mjs';
import signs from './station/signs.mjs';
import brokers from './station/brokers.mjs';
import hostile from './station/hostile.mjs';
import shots from './station/shots.mjs';

if (!existsSync(BINARY)) {
  console.error(`no program at ${BINARY}: set VITALGUARD`);
  process.exit(2);
}
process.on('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

const began = Date.now();
if (process.env.VG_SCREENSHOTS) {
  await shots(process.env.VG_SCREENSHOTS);
  await closeAll();
  process.exit(0);
}
await speed.first();
// What measures times of a busy wall runs alone; what mostly waits runs side by side.
await Promise.all([signs(), (async () => { await people(); await cases(); await brokers(); await hostile(); })()]);
await speed.many();

await scenario('schemas', 'every MQTT message fits its schema', async (say) => {
  assert.deepEqual(seen.wrong, []);
  say(`${seen.messages} messages of ${seen.kinds.size} kinds: ${[...seen.kinds].sort().map(([kind, n]) => `${kind} ${n}`).join(', ')}`);
});
await scenario('errors', 'no page told an error', async (say) => {
  assert.deepEqual(faults, []);
  say('0 errors in the consoles');
});
await closeAll();
const good = summary();
console.log(`${((Date.now() - began) / 1000).toFixed(0)} s`);
process.exit(good ? 0 : 1);

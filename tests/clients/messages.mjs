// Messages of invented patients, and the judge of the answers: shared by the drivers of all clients.

import { createRequire } from 'node:module';

const now = () => new Date().toISOString().replace(/[-:T]/g, '').replace('Z', '+0000');
const row = (n, code, value, unit) => `OBX|${n}|NM|${code}^MDC|1.1.1.${n}|${value}|${unit}^MDC|||||R|||${now()}`;

/** One vital-signs message, segments ended by CR. */
export function vitals(id, { bed = 'B1', value = 72, charset = '', note = '', rows = 0, accept = '', application = '' } = {}) {
  const lines = [
    `MSH|^~\\&|GW^00A037000001^EUI-64|HOSP|VG|HOSP|${now()}||ORU^R01^ORU_R01|${id}|P|2.6|||${accept}|${application}||${charset}`,
    `PID|||P-${bed}^^^HOSP^MR||Invented^${bed}||19500101|F`,
    `PV1||I|ICU^^${bed}`,
    `OBR|1|||182777000^monitoring of patient^SCT|||${now()}`,
    row(1, '147842^MDC_ECG_HEART_RATE', value, '264864^MDC_DIM_BEAT_PER_MIN'),
    row(2, '150456^MDC_PULS_OXIM_SAT_O2', 97, '262688^MDC_DIM_PERCENT'),
  ];
  if (note) lines.push(`NTE|1||${note}`);
  for (let n = 3; n < rows + 3; n++) lines.push(row(n, '151562^MDC_RESP_RATE', 14, '264928^MDC_DIM_RESP_PER_MIN'));
  return lines.join('\r') + '\r';
}

/** A query: it is refused. */
export const query = (id) => `MSH|^~\\&|GW|HOSP|VG|HOSP|${now()}||QBP^ZV1^QBP_Q11|${id}|P|2.6\rQPD|Z\r`;

/** Runs the cases of one client, one line each; the first answer that is not the right one ends the process with 1. */
export async function drive(client, cases) {
  const version = createRequire(import.meta.url)(`./node_modules/${client}/package.json`).version;
  const patience = setTimeout(() => fail('no answer within 30 s'), 30_000);
  const fail = (why) => {
    console.log(`${client} ${version}: ${why}`);
    process.exit(1);
  };
  for (const [name, run] of cases) {
    let told = 0;
    const seen = new Set();
    const expect = (sent, code, answer) => {
      if (answer.code !== code || answer.id !== sent) fail(`${name}: ${sent} was answered ${answer.code} ${answer.id}`);
      if (seen.has(sent)) fail(`${name}: ${sent} was answered twice`);
      seen.add(sent);
      told += 1;
    };
    try {
      await run(expect);
    } catch (error) {
      fail(`${name}: ${error.message}`);
    }
    console.log(`${client} ${version}: ${name}: ${told}`);
  }
  clearTimeout(patience);
  process.exit(0);
}

// @medplum/hl7: in step, on one connection and in two character sets. It takes what one read brings for one answer, so that
// several messages in flight on a connection are not for this client; it opens connections side by side instead.

import { Hl7Message } from '@medplum/core';
import { Hl7Client } from '@medplum/hl7';
import { drive, query, vitals } from './messages.mjs';

const port = Number(process.argv[2]);

async function onOne(texts, expect, { code = 'AA', encoding = 'utf-8' } = {}) {
  const client = new Hl7Client({ host: '127.0.0.1', port, encoding });
  for (const [id, text] of texts) {
    const ack = await client.sendAndWait(Hl7Message.parse(text), { timeoutMs: 20_000 });
    const msa = ack.getSegment('MSA');
    expect(id, code, { code: msa.getField(1).toString(), id: msa.getField(2).toString() });
  }
  await client.close();
}
const many = (name, count) => Array.from({ length: count }, (_, n) => [`${name}-${n}`, vitals(`${name}-${n}`, { value: 70 + (n % 5) })]);

await drive('@medplum/hl7', [
  ['vitals', (expect) => onOne([['m1', vitals('m1')]], expect)],
  ['20 on one connection', (expect) => onOne(many('m2', 20), expect)],
  ['20 connections side by side', (expect) => Promise.all(many('m3', 20).map((one) => onOne([one], expect)))],
  ['UTF-8', (expect) => onOne([['m4', vitals('m4', { charset: 'UNICODE UTF-8', note: 'Müller 東京 €' })]], expect)],
  ['latin-1', (expect) => onOne([['m5', vitals('m5', { charset: '8859/1', note: 'Müller é' })]], expect, { encoding: 'iso-8859-1' })],
  ['1 MB', (expect) => onOne([['m6', vitals('m6', { rows: 10_000 })]], expect)],
  ['commit only', (expect) => onOne([['m7', vitals('m7', { accept: 'AL', application: 'NE' })]], expect, { code: 'CA' })],
  ['query refused', (expect) => onOne([['m8', query('m8')]], expect, { code: 'AR' })],
]);

// node-hl7-client: in step and pipelined; its message and its parser on both sides.

import { Client, Message } from 'node-hl7-client';
import { drive, query, vitals } from './messages.mjs';

const port = Number(process.argv[2]);

/** Sends all on one connection; resolves when each has its answer. */
function onOne(texts, expect, { code = 'AA', encoding = 'utf-8', waitAck = true } = {}) {
  return new Promise((resolve, reject) => {
    const client = new Client({ host: '127.0.0.1', encoding });
    const waiting = texts.map(([id]) => id);
    const connection = client.createConnection({ port, waitAck }, (response) => {
      const message = response.getMessage();
      const answer = { code: message.get('MSA.1').toString(), id: message.get('MSA.2').toString() };
      try {
        expect(waiting.shift(), code, answer);
      } catch (error) {
        reject(error);
      }
      if (waiting.length === 0) connection.close().then(resolve);
    });
    connection.on('client.error', reject);
    connection.on('data.error', reject);
    connection.on('connect', async () => {
      for (const [, text] of texts) {
        await connection.sendMessage(new Message({ text: text.trimEnd() }));
        // In step, the client's own queue would be flushed at the next connection only.
        while (waitAck && connection._awaitingResponse) await new Promise((next) => setTimeout(next, 1));
      }
    });
  });
}
const many = (name, count) => Array.from({ length: count }, (_, n) => [`${name}-${n}`, vitals(`${name}-${n}`, { value: 70 + (n % 5) })]);

await drive('node-hl7-client', [
  ['vitals', (expect) => onOne([['n1', vitals('n1')]], expect)],
  ['20 on one connection', (expect) => onOne(many('n2', 20), expect)],
  ['50 pipelined', (expect) => onOne(many('n3', 50), expect, { waitAck: false })],
  ['UTF-8', (expect) => onOne([['n4', vitals('n4', { charset: 'UNICODE UTF-8', note: 'Müller 東京 €' })]], expect)],
  ['latin-1', (expect) => onOne([['n5', vitals('n5', { charset: '8859/1', note: 'Müller é' })]], expect, { encoding: 'latin1' })],
  ['1 MB', (expect) => onOne([['n6', vitals('n6', { rows: 10_000 })]], expect)],
  ['commit only', (expect) => onOne([['n7', vitals('n7', { accept: 'AL', application: 'NE' })]], expect, { code: 'CA' })],
  ['query refused', (expect) => onOne([['n8', query('n8')]], expect, { code: 'AR' })],
]);

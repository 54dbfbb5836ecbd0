// simple-hl7: one message at a time; its parser reads our answer and its message is what is sent.

import hl7 from 'simple-hl7';
import { drive, query, vitals } from './messages.mjs';

const port = Number(process.argv[2]);
const parser = new hl7.Parser({ segmentSeperator: '\r' });

function ask(client, text) {
  return new Promise((resolve, reject) =>
    client.send(parser.parse(text), (error, ack) => {
      if (error) return reject(error);
      const msa = ack.getSegment('MSA');
      resolve({ code: msa.getField(1), id: msa.getField(2) });
    }),
  );
}

async function onOne(texts, expect, code = 'AA') {
  const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port, keepalive: true });
  for (const [id, text] of texts) expect(id, code, await ask(client, text));
  client.close();
}

await drive('simple-hl7', [
  ['vitals', (expect) => onOne([['s1', vitals('s1')]], expect)],
  ['20 on one connection', (expect) => onOne(Array.from({ length: 20 }, (_, n) => [`s2-${n}`, vitals(`s2-${n}`, { value: 70 + (n % 5) })]), expect)],
  ['UTF-8', (expect) => onOne([['s3', vitals('s3', { charset: 'UNICODE UTF-8', note: 'Müller 東京 €' })]], expect)],
  ['1 MB', (expect) => onOne([['s4', vitals('s4', { rows: 10_000 })]], expect)],
  ['commit only', (expect) => onOne([['s5', vitals('s5', { accept: 'AL', application: 'NE' })]], expect, 'CA')],
  ['query refused', (expect) => onOne([['s6', query('s6')]], expect, 'AR')],
]);

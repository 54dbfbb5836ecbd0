// Topics of the contract, parsed once per message.

export type Topic =
  | { kind: 'status' | 'info' | 'heartbeat' }
  | { kind: 'feed'; feed: string }
  | { kind: 'ward'; ward: string; part: number }
  | { kind: 'bed' | 'vitals'; ward: string; bed: string }
  | { kind: 'event'; ward: string; bed: string; priority: string }
  | { kind: 'device'; device: string }
  | { kind: 'case'; id: string };

/** `undefined`: not below `base` (`{P}/v1/{site}`), or nothing that this page reads. */
export function parseTopic(base: string, topic: string): Topic | undefined {
  if (!topic.startsWith(`${base}/`)) return undefined;
  const [a, b = '', c = '', d = '', e = '', f = '', ...more] = topic.slice(base.length + 1).split('/');
  if (more.length > 0) return undefined;
  if (a === 'sys' && c === '' && (b === 'status' || b === 'info' || b === 'heartbeat')) return { kind: b };
  if (a === 'feed' && c === 'status' && d === '') return { kind: 'feed', feed: b };
  if (a === 'device' && c === 'event' && d === '') return { kind: 'device', device: b };
  if (a === 'case' && b !== '' && c === 'status' && d === '') return { kind: 'case', id: b };
  if (a !== 'ward' || b === '') return undefined;
  if (c === 'state' && e === '') {
    const part = d === '' ? 0 : Number(d);
    return Number.isInteger(part) && part >= 0 && part < 100 ? { kind: 'ward', ward: b, part } : undefined;
  }
  if (c !== 'bed' || d === '') return undefined;
  if (e === 'state' && f === '') return { kind: 'bed', ward: b, bed: d };
  if (e === 'vitals' && f === '') return { kind: 'vitals', ward: b, bed: d };
  if (e === 'event' && f !== '') return { kind: 'event', ward: b, bed: d, priority: f };
  return undefined;
}

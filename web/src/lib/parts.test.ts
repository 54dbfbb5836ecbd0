import { describe, expect, it } from 'vitest';
import { en } from '../lang/en';
import { it as italian } from '../lang/it';
import type { Alert } from './documents';
import { filtersOf, isForEngineers, listOf, matches, wanted } from './filters';
import { INVALID, shown } from './params';
import { cut } from './segments';
import type { BedView } from './store';
import { families, stretches, type Trends } from './trends';
import { density, grid, spokenName } from './wall';

const view = (params: BedView['params'], more: Partial<BedView> = {}): BedView =>
  ({ key: 'icu/A03', ward: 'icu', bed: 'A03', trust: 'plausible', params, ts: 1_000_000, rev: 1, learning: false, advisories: 0, alerts: [], others: [], resolved: [], periods: {}, ...more });
const p = (value: number | null) => ({ value, trust: value === null ? ('stale' as const) : ('plausible' as const), age_ms: 300 });
const plain = (value: number) => String(value);
const alert = (more: Partial<Alert>): Alert => ({ ward: 'icu', bed: 'A03', priority: 'high', assessment: 'tamper', condition: 'T03 flat_line', onset: '2026-11-22T18:00:00.000Z', ref: '1D15-DB51', state: 'active', ...more }) as Alert;

describe('numbers of a tile', () => {
  it('are five, and a value that is not fresh is -?-, never 0 and never another source', () => {
    const five = shown(view({ hr: p(null), pr: p(71), spo2: p(98), rr: p(15), abp_sys: p(120), abp_dia: p(74), temp: p(36.8) }), plain);
    expect(five.map((n) => [n.key, n.text])).toEqual([['hr', INVALID], ['spo2', '98'], ['rr', '15'], ['abp', '120/74'], ['temp', '36.8']]);
  });

  it('show a pulse under its own label where no heart rate was ever heard', () => {
    expect(shown(view({ pr: p(71) }), plain).map((n) => n.key)).toEqual(['pr']);
  });

  it('show a cuff pressure under its own label', () => {
    expect(shown(view({ nibp_sys: p(124), nibp_dia: p(78) }), plain)).toMatchObject([{ key: 'nibp', text: '124/78', at: 999_700 }]);
  });
});

describe('wall', () => {
  it('has three densities', () => {
    expect([1, 40, 41, 100, 101].map(density)).toEqual(['full', 'full', 'medium', 'medium', 'compact']);
  });

  it('shows 24 full tiles at 1366 x 768 and 200 compact ones at 1920 x 1080 without scrolling', () => {
    const full = grid('full', 24, 1356, 680, 14, 5);
    expect(Math.ceil(24 / full.columns) * (full.height + 5)).toBeLessThanOrEqual(685);
    const compact = grid('compact', 200, 1640, 960, 14, 5);
    expect(Math.ceil(200 / compact.columns) * (compact.height + 5)).toBeLessThanOrEqual(965);
    expect(compact.columns * (compact.width + 5)).toBeLessThanOrEqual(1645);
  });

  it('is named by the sentence', () => {
    const top = alert({ acked: { user: 'nurse7', at: '', via: 'web' }, state: 'acknowledged' });
    const said = 'HR and SpO₂ not changing for 41 s: values may be replayed';
    expect(spokenName(view({}, { trust: 'untrusted' }), alert({}), said, [], en)).toBe(`Bed A03, NOT TRUSTED, High: ${said}`);
    expect(spokenName(view({}, { trust: 'untrusted' }), top, said, [], en)).toBe(`Bed A03, NOT TRUSTED, High: ${said}, acknowledged by nurse7`);
  });
});

describe('segments', () => {
  it('are cut at their marks, which count bytes', () => {
    const text = 'OBX|1|NM|µ^x||72|';
    const start = new TextEncoder().encode('OBX|1|NM|µ^x||').length;
    expect(cut({ text, name: 'OBX', index: 1, marks: [{ field: 5, start, end: start + 2 }] })).toEqual([
      { text: 'OBX|1|NM|µ^x||', marked: false }, { text: '72', marked: true, field: 'OBX-5' }, { text: '|', marked: false },
    ]);
  });

  it('lose nothing where a mark does not fit', () => {
    for (const [start, end] of [[-1, 2], [4, 4], [3, 99], [NaN, 2]] as const)
      expect(cut({ text: 'MSH|x', name: 'MSH', index: 1, marks: [{ field: 1, start, end }] }).map((piece) => piece.text).join('')).toBe('MSH|x');
  });
});

describe('trends', () => {
  it('make one chart of a pressure of three, and mark where a check fired', () => {
    expect(families(['hr', 'abp_sys', 'abp_dia', 'temp'])).toEqual([{ family: 'hr', keys: ['hr'] }, { family: 'abp', keys: ['abp_sys', 'abp_dia'] }, { family: 'temp', keys: ['temp'] }]);
    const trends: Trends = { from: 10_000, to: 20_000, step_s: 1, t: [], params: {}, alerts: [
      { id: 'A-1', params: ['hr'], onset: 5_000, ended: null, priority: 'high' }, { id: 'A-2', params: ['hr'], onset: 1_000, ended: 2_000, priority: 'low' }, { id: 'A-3', params: ['rr'], onset: 15_000, ended: null, priority: 'low' },
    ] };
    expect(stretches(trends, ['hr'])).toMatchObject([{ id: 'A-1', from: 10, to: 20 }]);
  });
});

describe('filters', () => {
  it('come from the URL, go to the service, and choose the same among what is open', () => {
    const query = new URLSearchParams('list=all&ward=icu&priority=high&condition=t03&x=1');
    expect(listOf(query)).toBe('all');
    const filters = filtersOf(query);
    expect(filters).toEqual({ ward: 'icu', priority: 'high', condition: 't03' });
    expect(matches(alert({}), filters)).toBe(true);
    expect(matches(alert({ ward: 'ccu' }), filters)).toBe(false);
    expect(wanted({}, 'engineering').priority).toBe('info');
    expect([alert({ assessment: 'unverified' }), alert({ assessment: 'physiology', priority: 'info' })].map(isForEngineers)).toEqual([true, false]);
  });
});

describe('languages', () => {
  it('have the same strings, none empty', () => {
    const leaves = (value: unknown, path = ''): string[] => (typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`)) : [path]);
    expect(leaves(italian)).toEqual(leaves(en));
  });

  it('never say alarm of an alert, nor attack', () => {
    const all = JSON.stringify(en).replace(en.strip, '').replace(en.about.legal, '');
    expect(all).not.toMatch(/alarm|attack|hacker|backdoor/i);
    expect(JSON.stringify(italian).replace(italian.strip, '').replace(italian.about.legal, '')).not.toMatch(/allarm|attacc|hacker|backdoor/i);
  });
});

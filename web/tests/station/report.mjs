// Scenarios: each is run alone, timed, and told in one line with the figures that it measured.
import assert from 'node:assert/strict';

const only = new Set((process.env.VG_SCENARIOS ?? process.argv.slice(2).join(',')).split(',').map((word) => word.trim()).filter(Boolean));
const results = [];

export class NotRun extends Error {}
/** Ends a scenario that cannot be run here: it counts as not run, never as passed. */
export function notRun(why) { throw new NotRun(why); }
export const wanted = (...ids) => only.size === 0 || ids.some((id) => only.has(String(id)));

export async function scenario(id, name, check, limit = 90_000) {
  if (!wanted(id)) return;
  const began = Date.now();
  const figures = [];
  const say = (text) => void figures.push(text);
  let timer;
  const result = { id, name, state: 'passed', figures };
  try {
    await Promise.race([check(say), new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`did not end within ${limit / 1000} s`)), limit); })]);
    assert.ok(figures.length > 0, 'a scenario tells what it measured');
  } catch (error) {
    result.state = error instanceof NotRun ? 'not run' : 'FAILED';
    result.why = error instanceof NotRun || error instanceof assert.AssertionError ? error.message : `${error.message}\n${(error.stack ?? '').split('\n').filter((line) => line.includes('/tests/station')).slice(0, 3).join('\n')}`;
  }
  clearTimeout(timer);
  result.seconds = (Date.now() - began) / 1000;
  results.push(result);
  console.log(`${result.state.padEnd(8)} ${String(id).padStart(3)} ${name}: ${[result.why, ...figures].filter(Boolean).join('; ')} [${result.seconds.toFixed(1)} s]`);
}

/** A setting-up that fails takes its scenarios with it: they have failed, with the reason. */
export async function house(ids, name, run) {
  if (!wanted(...ids)) return;
  try {
    await run();
  } catch (error) {
    for (const id of ids) {
      if (!wanted(id) || results.some((result) => String(result.id) === String(id))) continue;
      results.push({ id, name, state: 'FAILED' });
      console.log(`FAILED   ${String(id).padStart(3)} ${name}: could not begin: ${error.stack}`);
    }
  }
}

export function summary() {
  const count = (state) => results.filter((result) => result.state === state);
  const word = (list) => `${list.length}${list.length > 0 ? ` (${list.map(({ id }) => id).join(', ')})` : ''}`;
  console.log(`\n${count('passed').length} passed, ${word(count('FAILED'))} failed, ${word(count('not run'))} not run`);
  return count('FAILED').length === 0;
}

export function quantile(numbers, q) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

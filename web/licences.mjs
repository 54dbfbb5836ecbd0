// The licences of what the page's chunks are made from: the packages of the lock file that are not for development alone, and Svelte.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** One text, in the order of the packages' names. */
export function licences(root = here) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const chosen = Object.entries(packages).filter(([path, entry]) => path !== '' && (!entry.dev || path === 'node_modules/svelte'));
  const parts = chosen.sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([path, entry]) => {
    const folder = join(root, path);
    if (!existsSync(folder) || path.includes('/@types/')) return [];
    const file = readdirSync(folder).filter((name) => /^(licen[cs]e|copying)/i.test(name)).sort()[0];
    const text = file ? readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim() : '(no text in the package)';
    return [`${path.replace(/^.*node_modules\//, '')} ${entry.version} (${entry.license ?? 'see text'})\n\n${text}\n`];
  });
  return parts.join(`\n${'-'.repeat(80)}\n\n`);
}

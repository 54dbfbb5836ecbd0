// The hash of everything that dist is made from: SHA-256 over the files of src, index.html and the lock file, in the order of
// their paths, each as `path LF length LF bytes`. `build.rs` computes the same and compares.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Lower-case hex. Paths are relative to this folder, with `/`, sorted by their bytes. */
export function sourceHash(root = here) {
  const files = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1).replaceAll('\\', '/'));
  files.push('index.html', 'package-lock.json');
  files.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const hash = createHash('sha256');
  for (const file of files) {
    const bytes = readFileSync(join(root, file));
    hash.update(`${file}\n${bytes.length}\n`);
    hash.update(bytes);
  }
  return hash.digest('hex');
}

/** Writes `dist/.src-sha256`. */
export function writeSourceHash(root = here) {
  writeFileSync(join(root, 'dist', '.src-sha256'), `${sourceHash(root)}\n`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) writeSourceHash();

// Packs every package as it would be published, with the licence and a readme, into a directory (default: tarballs).
// What they depend on among themselves is packed here too: install them all at once, `npm install tarballs/*.tgz`.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const destination = resolve(process.argv[2] ?? join(root, 'tarballs'));
mkdirSync(destination, { recursive: true });
for (const name of readdirSync(destination)) if (name.endsWith('.tgz')) rmSync(join(destination, name));

const stage = mkdtempSync(join(tmpdir(), 'tarballs-'));
try {
  for (const folder of readdirSync(join(root, 'packages'))) {
    const source = join(root, 'packages', folder);
    const { name, files, bin } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
    if (!existsSync(join(source, 'dist', 'index.js'))) throw new Error(`${name} is not built: npm run build`);
    const target = join(stage, folder);
    const parts = ['package.json', ...files.filter((file) => !file.startsWith('!')), ...(bin ? ['bin'] : [])];
    for (const part of parts) cpSync(join(source, part), join(target, part), { recursive: true });
    cpSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
    const readme = join(source, 'README.md');
    cpSync(existsSync(readme) ? readme : join(root, 'README.md'), join(target, 'README.md'));
    const options = { cwd: target, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
    console.log(execFileSync('npm', ['pack', '--silent', '--pack-destination', destination], options).trim());
  }
} finally {
  rmSync(stage, { recursive: true, force: true });
}

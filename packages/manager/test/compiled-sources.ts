import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const PACKAGES = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Translates the sources of core and manager, and the given test programs, below `directory`, so that a plain Node can
 * run them in a process of its own, one that can be killed. Returns the programs' paths.
 */
export async function compileSources(directory: string, programs: readonly string[]): Promise<string[]> {
  const core = join(directory, 'node_modules/@devmgr/core');
  await translate(join(PACKAGES, 'core/src'), join(core, 'src'));
  await writeFile(join(core, 'package.json'), JSON.stringify({ type: 'module', exports: './src/index.js' }));
  await translate(join(PACKAGES, 'manager/src'), join(directory, 'src'));
  await writeFile(join(directory, 'package.json'), JSON.stringify({ type: 'module' }));
  const made: string[] = [];
  for (const program of programs) {
    const source = join(PACKAGES, 'manager/test', program);
    made.push(await translateFile(source, join(directory, 'test', program)));
  }
  return made;
}

async function translate(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
    const path = join(entry.parentPath, entry.name);
    await translateFile(path, join(to, path.slice(from.length)));
  }
}

async function translateFile(from: string, to: string): Promise<string> {
  const { outputText } = ts.transpileModule(await readFile(from, 'utf8'), {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2023,
      rewriteRelativeImportExtensions: true,
      verbatimModuleSyntax: true,
    },
  });
  const path = to.replace(/\.ts$/, '.js');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, outputText);
  return path;
}

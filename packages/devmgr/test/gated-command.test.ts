import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readProcess } from '@devmgr/manager/client';
import { GatedCommand } from '../src/run/gated-command.ts';
import { isAlive, removeDirectories, temporaryDirectory, until } from './support/command-line.ts';

afterAll(removeDirectories);

test('the command runs only once the gate is open, as the process that was named before', async () => {
  const file = join(temporaryDirectory(), 'pid');
  const command = await GatedCommand.start(['sh', '-c', 'echo $$ > "$0"; exit 7', file], process.env);
  expect(command.startTime).toBe(readProcess(command.pid)?.startTime);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(existsSync(file)).toBe(false);
  command.open();
  expect(await command.ended).toEqual({ exitCode: 7, signal: null });
  expect(Number(readFileSync(file, 'utf8'))).toBe(command.pid);
});

test('a signal that ends the command counts 128 and its number', async () => {
  const command = await GatedCommand.start(['sleep', '1000'], process.env);
  command.open();
  await until(() => readFileSync(`/proc/${String(command.pid)}/comm`, 'utf8') === 'sleep\n');
  command.kill('SIGTERM');
  expect(await command.ended).toEqual({ exitCode: 143, signal: 'SIGTERM' });
});

test('arguments and environment arrive unchanged, odd names too', async () => {
  const file = join(temporaryDirectory(), 'out');
  const script = `const fs = require('node:fs');
    fs.writeFileSync(process.argv[1], JSON.stringify([process.argv.slice(2), process.env['a.b'], process.env.PLAIN, fs.readdirSync('/proc/self/fd').includes('3')]));`;
  const words = [process.execPath, '-e', script, file, 'two words', '$HOME', '--', '-x', ''];
  const command = await GatedCommand.start(words, { ...process.env, 'a.b': 'odd $x', PLAIN: "it's" });
  command.open();
  expect(await command.ended).toMatchObject({ exitCode: 0 });
  const [args, odd, plain] = JSON.parse(readFileSync(file, 'utf8')) as unknown[];
  expect(args).toEqual(['two words', '$HOME', '--', '-x', '']);
  expect([odd, plain]).toEqual(['odd $x', "it's"]);
});

test('when the starter is killed before the gate is open, the command never runs', async () => {
  const directory = temporaryDirectory();
  const file = join(directory, 'ran');
  const program = `
    const { GatedCommand } = await import(${JSON.stringify(new URL('../dist/run/gated-command.js', import.meta.url).href)});
    const command = await GatedCommand.start(['touch', ${JSON.stringify(file)}], process.env);
    console.log(command.pid);
    setInterval(() => {}, 1000);`;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  starter.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await until(() => output.includes('\n'));
  const pid = Number(output);
  expect(isAlive(pid)).toBe(true);
  starter.kill('SIGKILL');
  await until(() => !isAlive(pid));
  expect(existsSync(file)).toBe(false);
});

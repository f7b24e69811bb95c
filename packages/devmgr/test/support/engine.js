#!/usr/bin/env node
// Stands in for podman: `engine.js --state DIR COMMAND…` runs "images" (DIR/images/NAME: the words of a command, as JSON) in
// private views of the machine. As there, a container outlives the client that started it, is known by a name nobody else
// may have, and only `rm`, or its end with --rm, takes it away (DIR/containers/NAME). DIR/calls has every call, a line each.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { KUBELET_ROOT_DIR, withKubeletView } from '@devmgr/plugin-sdk/running';

const [, , , state = '', command = '', ...args] = process.argv;
const place = (name) => join(state, 'containers', name);

function fail(message, code = 125) {
  console.error(`Error: ${message}`);
  process.exit(code);
}

function pidOf(name) {
  if (!existsSync(place(name))) fail(`no container with name or ID "${name}" found: no such container`);
  const file = join(place(name), 'pid');
  return existsSync(file) ? Number(readFileSync(file)) : 0;
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone.
  }
}

function parseRun(words) {
  const flags = ['--rm', '--pull=never', '--network=none'];
  const options = {};
  let at = 0;
  for (; words[at]?.startsWith('-'); at += 1) {
    const option = words[at];
    if (flags.includes(option)) options[option] = true;
    else if (['--name', '-v', '--security-opt', '--label'].includes(option)) options[option] = words[(at += 1)];
    else fail(`unknown flag: ${option}`);
  }
  return { options, image: words[at], rest: words.slice(at + 1) };
}

const commands = {
  version: () => console.log('Client: an engine of the tests'),

  image: ([, image]) => {
    if (!existsSync(join(state, 'images', image))) fail(`inspecting object: ${image}: image not known`);
  },

  run: async (words) => {
    const { options, image, rest } = parseRun(words);
    const name = options['--name'];
    const [root, inside] = options['-v'].split(':');
    if (inside !== KUBELET_ROOT_DIR) fail(`cannot mount at ${inside}`);
    if (existsSync(place(name))) fail(`the container name "${name}" is already in use`);
    const entry = JSON.parse(readFileSync(join(state, 'images', image), 'utf8'));
    mkdirSync(place(name));
    await setTimeout(100); // a container that exists and does not run yet
    const shim = [process.argv[1], '--state', state, 'shim', name, options['--rm'] ? 'rm' : '', root];
    const child = spawn(process.execPath, [...shim, ...entry, ...rest], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    child.once('exit', (code) => process.exit(code ?? 125));
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => signalGroup(pidOf(name), signal));
  },

  // Not a command of podman's: its conmon.
  shim: ([name, rm, root, ...words]) => {
    const [program, ...rest] = withKubeletView(root, words);
    const child = spawn(program, rest, { detached: true, stdio: ['ignore', 'inherit', 'inherit'] });
    writeFileSync(join(place(name), 'pid'), String(child.pid));
    child.once('exit', (code, signal) => {
      signalGroup(child.pid, 'SIGKILL');
      if (rm === 'rm') rmSync(place(name), { recursive: true, force: true });
      process.exit(code ?? (signal === 'SIGKILL' ? 137 : 143));
    });
  },

  kill: (words) => {
    const name = words.at(-1);
    const signal = words.includes('TERM') ? 'SIGTERM' : 'SIGKILL';
    const pid = pidOf(name);
    if (pid === 0) fail(`can only kill running containers: ${name}`);
    signalGroup(pid, signal);
  },

  inspect: ([, , name]) => console.log(pidOf(name)),

  rm: ([, name]) => {
    const pid = pidOf(name);
    if (pid !== 0) signalGroup(pid, 'SIGKILL');
    rmSync(place(name), { recursive: true, force: true });
  },
};

appendFileSync(join(state, 'calls'), `${JSON.stringify([command, ...args])}\n`);
await (commands[command] ?? (() => fail(`unrecognized command ${command}`)))(args);

import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { DevmgrError } from '@devmgr/core';

/** Engines whose command line is that of docker, in the order in which they are looked for. */
const KNOWN_ENGINES = ['podman', 'docker'] as const;
/** The longest wait for an answer to a question. An engine on a busy machine takes its time. */
const ANSWER_MS = 30_000;

/**
 * The words with which to call a container engine: those given ("podman --root /srv/x"), or the first known one that
 * answers. Throws DevmgrError USAGE when none does.
 */
export function findEngine(given?: string): readonly string[] {
  const words = given?.split(/\s+/).filter((word) => word !== '');
  if (words?.length === 0) throw new DevmgrError('USAGE', '--engine needs a command', { remedy: 'Name an engine.' });
  const candidates = words === undefined ? KNOWN_ENGINES.map((name) => [name]) : [words];
  const said: string[] = [];
  for (const engine of candidates) {
    const problem = ask(engine, ['version']);
    if (problem === undefined) return engine;
    said.push(`${engine.join(' ')}: ${problem}`);
  }
  throw new DevmgrError('USAGE', `no container engine answers (${said.join('; ')})`, {
    remedy: 'Install podman or start docker, or name an engine that works here with --engine.',
  });
}

/** Throws DevmgrError USAGE when the engine does not have the image: the test downloads nothing. */
export function assertImage(engine: readonly string[], image: string): void {
  const problem = ask(engine, ['image', 'inspect', image]);
  if (problem === undefined) return;
  throw new DevmgrError('USAGE', `${engine[0] ?? ''} does not have the image ${image}: ${problem}`, {
    remedy: `Build it, or fetch it: ${engine.join(' ')} pull ${image}`,
  });
}

/** The first process of a container by its number; 0 while it has none, undefined when there is no such container. */
export function pidOfContainer(engine: readonly string[], name: string): number | undefined {
  const { status, stdout } = call(engine, ['inspect', '-f', '{{.State.Pid}}', name]);
  return status === 0 ? Number(stdout) : undefined;
}

/** Sends a signal to the first process of a container. Resolves once the engine has done it or refused. Never rejects. */
export async function signalContainer(
  [program = '', ...options]: readonly string[],
  name: string,
  signal: 'TERM' | 'KILL',
): Promise<void> {
  const child = spawn(program, [...options, 'kill', '--signal', signal, name], {
    stdio: 'ignore',
    timeout: ANSWER_MS,
    killSignal: 'SIGKILL',
    detached: true, // an interruption from the terminal is ours to act on
  });
  return new Promise((resolve) => {
    const over = (): void => {
      resolve();
    };
    child.once('error', over).once('exit', over);
  });
}

/** Whether a question is answered: undefined, or what is wrong, as the engine says it. */
function ask(engine: readonly string[], question: readonly string[]): string | undefined {
  const { error, status, stderr } = call(engine, question);
  if (error !== undefined) return 'code' in error && error.code === 'ENOENT' ? 'command not found' : error.message;
  if (status === 0) return undefined;
  return stderr.trim().split('\n').at(-1) || `exit code ${String(status)}`;
}

function call([program = '', ...options]: readonly string[], args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(program, [...options, ...args], {
    encoding: 'utf8',
    timeout: ANSWER_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

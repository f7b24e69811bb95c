import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, unlink } from 'node:fs/promises';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { MAX_SOCKET_PATH_BYTES } from '@devmgr/wire';
import { messageOf } from './plugin-log.ts';
import type { PluginState } from './plugin-spec.ts';
import type { SimulatedPlugin } from './simulated-plugin.ts';
import type { SimulatedDevice } from './simulation-schema.ts';
import { simulatedStep } from './simulation-step.ts';
import type { SimulatedStepInput } from './simulation-step.ts';

/**
 * Simulated hardware is commanded through a socket of its own, one a process, in the directory where a manager has its
 * API: `GET /resources`, and `POST /steps?resource=NAME` with a step as JSON. Only the owner may open it.
 */
const SOCKET_NAME = /^sim-[0-9a-f]{8}\.sock$/;
const MAX_BODY_CHARS = 1 << 20;
const ANSWER_TIMEOUT_MS = 10_000;

/** A simulated resource as it is now. */
export interface SimulatedView {
  readonly resource: string;
  readonly state: PluginState;
  /** Why it is not registered; null when nothing is wrong. */
  readonly problem: string | null;
  /** What goes wrong on purpose, in words. */
  readonly troubles: readonly string[];
  readonly devices: readonly SimulatedDevice[];
}

/**
 * Lets `commandSimulation` command these plugins until it is closed.
 *
 * @param dir directory of the socket, made if missing
 * @throws DevmgrError LISTEN_FAILED or PATH_TOO_LONG
 */
export async function serveSimulationControl(
  dir: string,
  plugins: readonly SimulatedPlugin[],
): Promise<{ readonly socketPath: string; close(): Promise<void> }> {
  const socketPath = join(dir, `sim-${randomBytes(4).toString('hex')}.sock`);
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new DevmgrError('PATH_TOO_LONG', `the socket path ${socketPath} is too long`);
  }
  const server = createServer((request, response) => {
    answer(request, plugins).then(
      (views) => {
        send(response, 200, views);
      },
      (error: unknown) => {
        send(response, error instanceof DevmgrError ? 400 : 500, { message: messageOf(error) });
      },
    );
  });
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await listenForOwner(server, dir, socketPath);
  } catch (error) {
    throw new DevmgrError('LISTEN_FAILED', `cannot listen on ${socketPath}: ${messageOf(error)}`, { cause: error });
  }
  return {
    socketPath,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      await rm(socketPath, { force: true });
    },
  };
}

/** The simulated resources of all processes that have their socket in `dir`, in order of name. */
export async function listSimulations(dir: string): Promise<SimulatedView[]> {
  const views = (await askAll(dir)).flatMap(({ resources }) => resources);
  return views.sort((one, other) => one.resource.localeCompare(other.resource));
}

/**
 * Makes a step happen to a simulated resource.
 *
 * @param resource may be left out when there is only one
 * @returns the resource after the step
 * @throws DevmgrError NOT_FOUND when there is no such resource, USAGE when it is not clear which, PLUGIN_INVALID when
 * the step cannot be played
 */
export async function commandSimulation(
  dir: string,
  resource: string | undefined,
  step: SimulatedStepInput,
): Promise<SimulatedView> {
  const all = (await askAll(dir)).flatMap(({ socketPath, resources }) =>
    resources.map((view) => ({ socketPath, name: view.resource })),
  );
  const names = all.map(({ name }) => name).join(', ');
  if (all.length === 0) {
    throw new DevmgrError('NOT_FOUND', `nothing is simulated in ${dir}`, {
      remedy: 'Start "devmgr simulate" with the same --root-dir.',
    });
  }
  const fitting = resource === undefined ? all : all.filter(({ name }) => name === resource);
  const [target] = fitting;
  if (target === undefined) {
    throw new DevmgrError('NOT_FOUND', `${String(resource)} is not simulated`, { remedy: `There is ${names}.` });
  }
  if (fitting.length > 1) {
    throw new DevmgrError('USAGE', `it is not clear which resource is meant: there is ${names}`, {
      remedy:
        new Set(fitting.map(({ name }) => name)).size > 1 ? 'Name one with --resource.' : 'Stop all but one of them.',
    });
  }
  const answered = await ask(target.socketPath, 'POST', `/steps?resource=${encodeURIComponent(target.name)}`, step);
  if (answered === undefined) throw new DevmgrError('NOT_FOUND', `the simulation of ${target.name} has just ended`);
  return (answered as SimulatedView[])[0] as SimulatedView;
}

async function answer(request: IncomingMessage, plugins: readonly SimulatedPlugin[]): Promise<SimulatedView[]> {
  const url = new URL(request.url ?? '/', 'http://unix');
  // First of all, and to the end: a client that is answered while it still writes may miss the answer.
  const body = await readText(request);
  if (request.method === 'GET' && url.pathname === '/resources') return plugins.map(viewOf);
  if (request.method !== 'POST' || url.pathname !== '/steps') {
    throw new DevmgrError('BAD_REQUEST', 'there are GET /resources and POST /steps?resource=NAME');
  }
  const name = url.searchParams.get('resource');
  const plugin = plugins.find(({ resource }) => resource === name);
  if (plugin === undefined) throw new DevmgrError('NOT_FOUND', `${String(name)} is not simulated here`);
  const step = simulatedStep.safeParse(parseJson(body));
  if (!step.success) {
    const [issue] = step.error.issues;
    const place = issue?.path.map(String).join('.') ?? '';
    throw new DevmgrError('BAD_REQUEST', `${place === '' ? 'the step' : place}: ${issue?.message ?? ''}`);
  }
  plugin.play(step.data);
  return [viewOf(plugin)];
}

function viewOf({ resource, state, problem, troubles, devices }: SimulatedPlugin): SimulatedView {
  return { resource, state, problem: problem ?? null, troubles, devices };
}

/** The body as text; undefined when it is too long. */
async function readText(request: IncomingMessage): Promise<string | undefined> {
  let text = '';
  let length = 0;
  for await (const chunk of request.setEncoding('utf8')) {
    length += String(chunk).length;
    if (length <= MAX_BODY_CHARS) text += String(chunk);
  }
  return length > MAX_BODY_CHARS ? undefined : text;
}

function parseJson(text: string | undefined): unknown {
  if (text === undefined) throw new DevmgrError('BAD_REQUEST', 'the step is too long');
  try {
    return JSON.parse(text);
  } catch {
    throw new DevmgrError('BAD_REQUEST', 'the step is not JSON');
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Listens where only the owner can come, and moves the socket into place when nobody else can open it. */
async function listenForOwner(server: Server, dir: string, path: string): Promise<void> {
  const privateDir = await mkdtemp(join(dir, '.s'));
  const temporary = join(privateDir, 's');
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(temporary, () => {
        server.off('error', reject);
        resolve();
      });
    });
    await chmod(temporary, 0o600);
    await rename(temporary, path);
  } catch (error) {
    server.close();
    throw error;
  } finally {
    await rm(privateDir, { recursive: true, force: true });
  }
}

/** Asks every process. Sockets of those that were killed are removed on the way. */
async function askAll(dir: string): Promise<{ socketPath: string; resources: SimulatedView[] }[]> {
  const names = (await readdir(dir).catch(() => [])).filter((name) => SOCKET_NAME.test(name));
  const answers = await Promise.all(
    names.map(async (name) => {
      const socketPath = join(dir, name);
      const resources = (await ask(socketPath, 'GET', '/resources')) as SimulatedView[] | undefined;
      return { socketPath, resources: resources ?? [] };
    }),
  );
  return answers;
}

/** Undefined when nobody listens any more; the socket is removed then. */
async function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  try {
    const { status, text } = await exchange(socketPath, method, path, body);
    if (status === 200) return JSON.parse(text);
    const { message } = JSON.parse(text) as { message: string };
    throw new DevmgrError('PLUGIN_INVALID', message);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ECONNREFUSED' && code !== 'ENOENT') throw error;
    await unlink(socketPath).catch(() => undefined);
    return undefined;
  }
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.once('error', reject);
      response.once('end', () => {
        resolve({ status: response.statusCode ?? 0, text });
      });
    });
    request.setTimeout(ANSWER_TIMEOUT_MS, () => {
      request.destroy(new DevmgrError('DEADLINE_EXCEEDED', `the simulation at ${socketPath} does not answer`));
    });
    request.once('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

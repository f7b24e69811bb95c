import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileSources } from '../compiled-sources.ts';
import { newPlace, openStore, type Place } from './store-kit.ts';

interface Report {
  readonly first: string;
  readonly firstSnapshot: string;
  readonly shared: readonly string[];
  readonly bigSnapshot: string;
  readonly unchanged: boolean;
  readonly leftovers: readonly string[];
  readonly after: string;
  readonly afterSnapshot: string;
  readonly problems: readonly string[];
}

let build = '';
let program = '';

beforeAll(async () => {
  build = await mkdtemp(join(tmpdir(), 'devmgr-build-'));
  [program = ''] = await compileSources(build, ['checkpoint/full-disk-child.ts', 'checkpoint/workload.ts']);
}, 120_000);

afterAll(async () => {
  await rm(build, { recursive: true, force: true });
});

/** Runs the child under a shell line in which `"$@"` stands for it. */
function runUnder(shell: string, args: readonly string[], wrapper: readonly string[] = []): Report {
  const command = [...wrapper, 'bash', '-c', shell, 'bash', process.execPath, program, ...args];
  const { stdout, stderr } = spawnSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', timeout: 60_000 });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}

function expectCleanFailure(report: Report, cause: string): void {
  const failure = (file: string): unknown =>
    expect.stringMatching(
      new RegExp(
        `^STATE_WRITE_FAILED failed to write checkpoint file "kubelet_internal_checkpoint": write .*${file}: ${cause}$`,
      ),
    );
  expect(report).toEqual({
    first: 'ok',
    firstSnapshot: 'ok',
    shared: [failure('/journal\\.0{16}'), failure('/journal\\.0{16}')],
    bigSnapshot: failure('/\\.devmgr-[0-9a-f]+'),
    unchanged: true,
    leftovers: [],
    after: 'ok',
    afterSnapshot: 'ok',
    problems: [],
  });
}

test('scenario 144: no room for a file to grow: nothing is half written, and smaller records go on', async () => {
  const place = await newPlace();
  const report = runUnder('ulimit -f 128 && "$@"', [place.devicePluginDir, place.stateDir]);
  expectCleanFailure(report, 'file too large');
  const { recovered } = await openStore(place, { bootId: 'b' });
  expect(recovered.problems).toEqual([]);
  expect(recovered.pods.map(({ metadata }) => metadata.uid)).toEqual(['first', 'after']);
});

const NAMESPACES = ['unshare', '--user', '--map-root-user', '--mount'];
const canMount =
  spawnSync(NAMESPACES[0] ?? '', [...NAMESPACES.slice(1), 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;

test.skipIf(!canMount)(
  'scenario 144: disk full: nothing is half written, and it works again once there is room',
  async () => {
    const place = await newPlace();
    const disk = join(place.root, 'disk');
    const copy = join(place.root, 'copy');
    await mkdir(disk);
    const child = `"$@" ${disk}/device-plugins ${disk}/devmgr ${disk}/filler`;
    const shell = `mount -t tmpfs -o size=256k none ${disk} && ${child} && cp -r ${disk} ${copy}`;
    const report = runUnder(shell, [], NAMESPACES);
    expectCleanFailure(report, 'no space left on device');
    const survived: Place = {
      ...place,
      devicePluginDir: join(copy, 'device-plugins'),
      stateDir: join(copy, 'devmgr'),
    };
    const { recovered } = await openStore(survived, { bootId: 'b' });
    expect(recovered.problems).toEqual([]);
    expect(recovered.pods.map(({ metadata }) => metadata.uid)).toEqual(['first', 'after']);
    expect(await readFile(join(survived.stateDir, 'journal.0000000000000000'), 'utf8')).toContain('"podUid":"gone"');
  },
);

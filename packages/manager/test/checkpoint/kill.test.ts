import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { decodeCheckpoint } from '@devmgr/core';
import { expect, test } from 'vitest';
import { recoverState, statePaths } from '../../src/checkpoint/recovery.ts';
import { StateImage } from '../../src/checkpoint/state-image.ts';
import type { RecoveredState } from '../../src/ports.ts';
import { compileSources } from '../compiled-sources.ts';
import { newPlace, openStore, type Place } from './store-kit.ts';
import { recordNumber } from './workload.ts';

const KILLS = 50;

/** Runs the child from record `first` on and kills it some time after its first acknowledgement. */
async function runAndKill(
  program: string,
  place: Place,
  first: number,
  lifeMs: number,
): Promise<{ acked: number; issued: number }> {
  const child = spawn(process.execPath, [program, place.devicePluginDir, place.stateDir, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  let acked = first - 1;
  let issued = first - 1;
  const problems: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [what, rest = ''] = line.split(/ (.*)/, 2);
    if (what === 'issued') issued = Math.max(issued, Number(rest));
    else if (what === 'acked') acked = Math.max(acked, Number(rest));
    else problems.push(line);
    timer ??= setTimeout(() => child.kill('SIGKILL'), lifeMs);
  });
  const [code, signal] = (await ended) as [number | null, string | null];
  clearTimeout(timer);
  expect({ code, signal, problems }).toEqual({ code: null, signal: 'SIGKILL', problems: [] });
  return { acked, issued };
}

/** The state on disk; every other time only looked at, so that the next child finds what the killed one left. */
async function recover(
  place: Place,
  byAStart: boolean,
): Promise<Pick<RecoveredState, 'allocations' | 'pods' | 'resources'>> {
  const { image, problems } = await recoverState(statePaths(place.devicePluginDir, place.stateDir), Date.now());
  // A torn tail is no fault; anything else that could not be read would be one.
  expect(problems.filter((problem) => !problem.includes('no whole record'))).toEqual([]);
  const found = { allocations: image.allocations(), pods: image.pods(), resources: image.resources() };
  if (byAStart) {
    const { store, recovered } = await openStore(place, { bootId: 'b' });
    expect(fingerprint(recovered)).toBe(fingerprint(found));
    await store.close();
  }
  return found;
}

/** What is to be found after exactly these records, as comparable text. */
function fingerprint(state: Pick<RecoveredState, 'allocations' | 'pods' | 'resources'>): string {
  const sorted = (values: readonly unknown[]): readonly string[] => values.map((value) => JSON.stringify(value)).sort();
  return JSON.stringify({
    allocations: sorted(
      state.allocations.map((allocation) => ({ ...allocation, deviceIds: [...allocation.deviceIds] })),
    ),
    pods: sorted(state.pods),
    // The running child knows better where r0 is than its records: a snapshot says so.
    resources: sorted(state.resources.filter(({ resource }) => resource !== 'example.com/r0')),
  });
}

test(
  'scenario 145: killed at any instant, the checkpoint is valid and the state is that of some moment after the last acknowledgement',
  { timeout: 300_000 },
  async () => {
    const place = await newPlace();
    const [program = ''] = await compileSources(join(place.root, 'build'), [
      'checkpoint/kill-child.ts',
      'checkpoint/workload.ts',
    ]);
    const image = new StateImage();
    let applied = 0;
    let acknowledged = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const { acked, issued } = await runAndKill(program, place, applied + 1, Math.random() * 60);
      acknowledged += acked - applied;
      const file = await readFile(place.checkpoint).catch(() => undefined);
      if (file !== undefined) expect(decodeCheckpoint(file)).toMatchObject({ ok: true, version: 2 });

      const found = fingerprint(await recover(place, kill % 2 === 0));
      const asOf = (): string =>
        fingerprint({ allocations: image.allocations(), pods: image.pods(), resources: image.resources() });
      const advance = (): void => {
        image.apply(recordNumber(++applied));
      };
      while (applied < acked) advance();
      while (asOf() !== found && applied < issued) advance();
      expect(asOf(), `kill ${String(kill)}: between records ${String(acked)} and ${String(issued)}`).toBe(found);
    }
    expect(acknowledged).toBeGreaterThan(KILLS);
  },
);

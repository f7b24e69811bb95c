import { CHECKS, type Check } from '@devmgr/conformance';
import { expect, test } from 'vitest';
import { listPlugins } from '../../../test/conformance/defects.ts';
import { complaints, mutate, runOn } from '../../../test/conformance/mutation-run.ts';

const { good, defects } = listPlugins();
const seeded = new Set(defects.flatMap(({ fails }) => fails));

test('every check has a defect that it has to find', () => {
  expect(CHECKS.filter(({ id }) => !seeded.has(id)).map(({ id }) => id)).toEqual([]);
});

test('every defect is to be found by checks that there are, and by more than one for a reason', () => {
  const ids = CHECKS.map(({ id }) => id as string);
  for (const { name, fails, because } of defects) {
    expect(fails.length, name).toBeGreaterThan(0);
    for (const id of fails) expect(ids, name).toContain(id);
    expect(because !== undefined, name).toBe(fails.length > 1);
  }
});

/** Those that only look, on an instance that is there: cheap enough for every day. `npm run test:mutations` has the rest. */
const looking = CHECKS.filter(({ level, stage = 'observe' }) => level === 'quick' && stage === 'observe');
const isCheap = ({ id }: Pick<Check, 'id'>): boolean => looking.some((check) => check.id === id);

/** One a check, without those that take their time. */
const SLOW = ['registration/registers', 'listing/first-list', 'allocation/in-time', 'pre-start/in-time'];
const everyday = looking.flatMap((check) => {
  const defect = defects.find(({ fails }) => fails[0] === check.id);
  return defect === undefined || SLOW.includes(check.id) ? [] : [{ ...defect, id: check.id }];
});

test.concurrent.each(everyday)(
  '$id finds the defect $name, and no other check that only looks',
  async (defect) => {
    const found = await mutate(defect, looking);
    expect([...found.keys()], JSON.stringify([...found])).toEqual(
      defect.fails.filter((id) => isCheap({ id: id as Check['id'] })),
    );
  },
  90_000,
);

test.concurrent.each(good)(
  'no check that only looks finds anything in the plugin %s',
  async (name) => {
    expect(Object.fromEntries(complaints(await runOn(name, looking)))).toEqual({});
  },
  90_000,
);

import { DevmgrError } from '@devmgr/core';
import { expect, it } from 'vitest';
import { observedState } from '../src/observed-state.ts';

const RECORD = { type: 'released', podUid: 'u' } as const;

it('tells of each record, and of each failure, which the caller sees as well', async () => {
  const seen: string[] = [];
  let full = false;
  const state = observedState(
    {
      append: () => (full ? Promise.reject(new DevmgrError('STATE_WRITE_FAILED', 'disk full')) : Promise.resolve()),
      touch: () => seen.push('touch'),
    },
    { appended: () => seen.push('appended'), failed: (message) => seen.push(message) },
  );
  await state.append(RECORD);
  full = true;
  await expect(state.append(RECORD)).rejects.toMatchObject({ code: 'STATE_WRITE_FAILED' });
  state.touch();
  expect(seen).toEqual(['appended', 'disk full', 'touch']);
});

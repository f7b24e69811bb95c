import { CHECKS, MANAGER_CHECKS, selectFrom, type Check, type Level } from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { formatTable } from '../output/table.ts';
import type { ReportFormat } from './render.ts';

export interface TestOptions {
  readonly level: Level;
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly strict?: boolean;
  readonly timeout: number;
  readonly report: ReportFormat;
  readonly output?: string;
  readonly badge?: string;
  readonly attach?: string;
  readonly image?: string;
  readonly engine?: string;
  readonly engineOption?: readonly string[];
  readonly hardwareChange?: string;
  readonly record?: string;
  readonly manager?: string;
  readonly list?: boolean;
}

type Listed = Pick<Check, 'id' | 'level' | 'severity' | 'title'>;

/** The checks of a selection, as a table. */
export function listChecks(options: TestOptions): string {
  const all: readonly Listed[] = options.manager === undefined ? [...CHECKS, ...MANAGER_CHECKS] : MANAGER_CHECKS;
  return formatTable<Listed>(
    [
      { header: 'ID', cell: ({ id }) => id },
      { header: 'LEVEL', cell: ({ level }) => level },
      { header: 'SEVERITY', cell: ({ severity }) => severity },
      { header: 'WHAT', cell: ({ title }) => title },
    ],
    select(all, { ...options, level: 'full' }),
    { nowMs: 0 },
  );
}

/** The checks to run. Throws DevmgrError when there are none, or one that does not exist is named. */
export function select<C extends Pick<Check, 'id' | 'level'>>(
  catalogue: readonly C[],
  { level, only = [], skip = [] }: TestOptions,
): readonly C[] {
  const { checks, unknown } = selectFrom(catalogue, { level, only, skip });
  if (unknown.length > 0) {
    throw new DevmgrError('USAGE', `there is no check or group "${unknown.join('", "')}"`, {
      remedy: 'See "devmgr test --list".',
    });
  }
  if (checks.length === 0) {
    throw new DevmgrError('USAGE', 'no check is left to run', {
      remedy: 'Leave out --skip, or name others; those of the group manager need --manager.',
    });
  }
  return checks;
}

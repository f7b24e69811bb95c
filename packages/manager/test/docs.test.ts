import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode } from '@devmgr/core';
import { EXIT_CODES, exitCodeOf } from '../../devmgr/src/exit-codes.ts';
import { apiRoutes } from '../src/http/app.ts';
import type { ApiContext } from '../src/http/context.ts';
import { HTTP_FAILURES, STATUS_OF_CODE } from '../src/http/status-map.ts';
import { EVENT_REASONS } from '../src/ports.ts';
import { SystemClock } from '../src/system-clock.ts';
import { METRICS } from '../src/telemetry/metric-table.ts';

/** Rows of the first table of a page whose header begins with `header`; code marks are taken off. */
function tableOf(page: string, header: string): string[][] {
  const lines = readFileSync(new URL(`../../../docs/${page}`, import.meta.url), 'utf8').split('\n');
  const cells = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const start = lines.findIndex((line) => line.startsWith('|') && cells(line)[0] === header);
  if (start === -1) throw new Error(`docs/${page} has no table that begins with "${header}"`);
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map(cells);
}

function code(text: string): string {
  return `\`${text}\``;
}

describe('the documentation says what the code does', () => {
  it('docs/errors.md lists every error code with its remedy, HTTP status and exit code', () => {
    const expected = Object.entries(ERROR_CODES).map(([name, { summary, remedy }]) => {
      const { httpStatus, reason } = STATUS_OF_CODE[name as ErrorCode];
      return [
        code(name),
        summary,
        remedy,
        `${String(httpStatus)} ${code(reason)}`,
        String(exitCodeOf(name as ErrorCode)),
      ];
    });
    expect(tableOf('errors.md', 'code')).toEqual(expected);
    expect(Object.keys(ERROR_CODES)).toEqual(Object.keys(ERROR_CODES).toSorted());
  });

  it('docs/errors.md lists every exit code', () => {
    const listed = tableOf('errors.md', 'exit code').map(([number]) => Number(number));
    expect(listed).toEqual(Object.values(EXIT_CODES).toSorted((a, b) => a - b));
  });

  it('docs/errors.md lists every failure of HTTP', () => {
    const listed = tableOf('errors.md', 'HTTP').map(([status, reason]) => `${String(status)} ${String(reason)}`);
    const known = Object.values(HTTP_FAILURES).map(({ httpStatus, reason }) => `${String(httpStatus)} ${code(reason)}`);
    expect(listed).toEqual(known.toSorted());
  });

  it('docs/events.md lists every reason', () => {
    const expected = Object.entries(EVENT_REASONS).map(([reason, meaning]) => [code(reason), meaning]);
    expect(tableOf('events.md', 'reason')).toEqual(expected);
  });

  it('docs/metrics.md lists every metric', () => {
    const expected = Object.entries(METRICS).map(([name, { type, labels, help }]) => {
      const names = labels.map((label) => code(label)).join(', ');
      return [code(name), type, names === '' ? '–' : names, help];
    });
    expect(tableOf('metrics.md', 'metric')).toEqual(expected);
  });

  it('docs/api.md lists every path and method', () => {
    // Routes only keep what they are given; none is called here.
    const context = { clock: new SystemClock() } as unknown as ApiContext;
    const known = apiRoutes(context).flatMap(({ path, handlers }) =>
      Object.keys(handlers).map((method) => `${method} ${code(path.replaceAll(/:(\w+)/g, '{$1}'))}`),
    );
    const listed = tableOf('api.md', 'method').map(([method, path]) => `${String(method)} ${String(path)}`);
    expect(listed.toSorted()).toEqual(known.toSorted());
  });
});

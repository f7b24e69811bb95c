import { existsSync, readFileSync } from 'node:fs';
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

/** Rows of all tables of a page whose header begins with `header`. */
function tablesOf(page: string, header: string): string[][] {
  const text = readFileSync(new URL(`../../../docs/${page}`, import.meta.url), 'utf8');
  const rows: string[][] = [];
  let inside = false;
  for (const line of text.split('\n')) {
    const cells = line.split('|').slice(1, -1);
    const first = cells[0]?.trim();
    if (first === undefined) inside = false;
    else if (first === header) inside = true;
    else if (inside && !first.startsWith('---')) rows.push(cells.map((cell) => cell.trim()));
  }
  return rows;
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

  it('docs/kubelet-compatibility.md has a verdict and a test for every rule, and the tests are there', () => {
    const scenarios = new Set(tableOf('scenarios.md', 'scenario').map(([number]) => Number(number)));
    const rules = tablesOf('kubelet-compatibility.md', 'rule');
    expect(rules.length).toBeGreaterThan(90);
    const covered = new Set<number>();
    const problems = rules.flatMap(([rule = '', verdict = '', tests = '']) => {
      const wrong: string[] = [];
      if (!/^(same|better|rule there|depends)/.test(verdict)) wrong.push(`verdict "${verdict}"`);
      if (tests === '') wrong.push('no test');
      for (const part of tests.split(', ')) {
        const path = /^`(.+\.test\.ts)`$/.exec(part)?.[1];
        const [from = NaN, to = from] = part.split('–').map(Number);
        if (path !== undefined) {
          if (!existsSync(new URL(`../../../${path}`, import.meta.url))) wrong.push(`${path} is not there`);
        } else if (part !== 'differential' && part !== '[differential](differential.md)') {
          if (!(to - from >= 0 && to - from < 100)) wrong.push(`"${part}" names no test`);
          for (let number = from; number <= to; number += 1) {
            covered.add(number);
            if (!scenarios.has(number)) wrong.push(`scenario ${String(number)} has no test`);
          }
        }
      }
      return wrong.map((text) => `${rule}: ${text}`);
    });
    expect(problems).toEqual([]);
    // Every scenario belongs to a rule, but those of size, which are no rule of the kubelet.
    expect([...scenarios].filter((number) => !covered.has(number) && number < 168)).toEqual([]);
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

import { expect, test } from 'vitest';
import {
  badgeJson,
  badgeSvg,
  githubAnnotations,
  githubSummary,
  hasPassed,
  jsonReport,
  junitReport,
  tableReport,
  type CheckResult,
  type Report,
} from '../src/index.ts';

const EVIL = 'a <b> & "c" | `d` % \u001b[31m\u0000 ::error::\r\n]]>';

function result(status: CheckResult['status'], id: string, extra: Partial<CheckResult> = {}): CheckResult {
  const [group] = id.split('/');
  const told = status === 'fail' || status === 'warn';
  return {
    id,
    group: group as CheckResult['group'],
    level: 'quick',
    severity: status === 'warn' ? 'warning' : 'error',
    status,
    title: 'It does it.',
    why: 'Else it does not. (source)',
    message: `message of ${id}`,
    seen: told ? EVIL : '',
    remedy: told ? 'Do it.' : '',
    ...extra,
  };
}

function reportOf(...checks: CheckResult[]): Report {
  const count = (status: string): number => checks.filter((check) => check.status === status).length;
  return {
    plugin: {
      command: ['./plugin', '--flag'],
      resources: [
        {
          name: 'example.com/thing',
          devices: 2,
          healthy: 1,
          endpoint: 'thing.sock',
          registration: 'register',
          preferredAllocation: false,
          preStartRequired: false,
          authority: 'localhost',
        },
      ],
    },
    checks,
    summary: { pass: count('pass'), fail: count('fail'), warn: count('warn'), skip: count('skip'), seconds: 1.5 },
  };
}

const MIXED = reportOf(
  result('pass', 'registration/one'),
  result('fail', 'listing/two'),
  result('warn', 'listing/three'),
  result('skip', 'preferred/four', { message: 'not offered' }),
);
const repeat = (id: string): string => `devmgr test --only ${id} -- ./plugin`;

test('failures fail, warnings only when they are to', () => {
  expect(hasPassed(MIXED, false)).toBe(false);
  const warned = reportOf(result('warn', 'listing/three'));
  expect([hasPassed(warned, false), hasPassed(warned, true)]).toEqual([true, false]);
  expect(hasPassed(reportOf(result('skip', 'listing/three')), true)).toBe(true);
});

test('the JSON report has the documented shape and nothing else', () => {
  const { plugin, checks, summary } = JSON.parse(jsonReport(MIXED)) as Report;
  expect(plugin.command).toEqual(['./plugin', '--flag']);
  expect(checks.map((check) => Object.keys(check))).toEqual(
    Array.from({ length: 4 }, () => ['id', 'group', 'severity', 'status', 'message', 'seen', 'remedy']),
  );
  expect(summary).toEqual({ pass: 1, fail: 1, warn: 1, skip: 1, seconds: 1.5 });
});

test('the table folds what is green and explains what is not', () => {
  const text = tableReport(MIXED, { repeat });
  expect(text).toContain('PASS  registration   1 passed\n');
  expect(text).not.toContain('registration/one');
  expect(text).toContain('FAIL  listing        1 failed, 1 warned\n');
  expect(text).toContain('FAIL  listing/two: message of listing/two');
  expect(text).toContain('WARN  listing/three: message of listing/three');
  expect(text).toContain('why     It does it. Else it does not. (source)');
  expect(text).toContain('remedy  Do it.');
  expect(text).toContain('repeat  devmgr test --only listing/two -- ./plugin');
  expect(text).toMatch(/^SKIP {2}preferred {6}1 skipped \(not offered\)$/m);
  // eslint-disable-next-line no-control-regex -- what a plugin printed must not reach the terminal
  expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f]/);
});

test('the verdict of the table is that of the exit code', () => {
  const warned = reportOf(result('warn', 'listing/three'));
  expect(tableReport(warned, { repeat }).trimEnd().split('\n').at(-1)).toMatch(/^PASS/);
  expect(tableReport(warned, { repeat, strict: true }).trimEnd().split('\n').at(-1)).toMatch(/^FAIL/);
});

test('JUnit has a suite a group and a case a check, in characters that XML has', () => {
  const text = junitReport(MIXED, { strict: false });
  expect(text).toContain('<testsuites name="devmgr test" tests="4" failures="1" errors="0" skipped="1" time="1.5">');
  expect(text).toContain('<testsuite name="listing" tests="2" failures="1" errors="0" skipped="0">');
  expect(text).toContain('<testcase classname="registration" name="registration/one"/>');
  expect(text).toContain(
    '<failure type="error" message="message of listing/two">a &lt;b&gt; &amp; &quot;c&quot; | `d`',
  );
  expect(text).toContain('<system-out>warning: message of listing/three');
  expect(text).toContain('<skipped message="not offered"/>');
  // eslint-disable-next-line no-control-regex -- XML 1.0 has no place for them
  expect(text).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
  const opened = [...text.matchAll(/<([a-z-]+)(?: [^<>]*)?(?<!\/)>/g)].map(([, name]) => name);
  const closed = [...text.matchAll(/<\/([a-z-]+)>/g)].map(([, name]) => name);
  expect(opened.sort()).toEqual(closed.sort());
  expect(junitReport(MIXED, { strict: true })).toContain('failures="2"');
});

test('GitHub gets one line for each failure and warning, whatever is in it', () => {
  const lines = githubAnnotations(MIXED).trimEnd().split('\n');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^::error title=devmgr test%3A listing\/two::message of listing\/two%0Aa <b>/);
  expect(lines[0]).toContain('%25');
  expect(lines[1]).toMatch(/^::warning /);
});

test('the step summary fences what a plugin printed', () => {
  const text = githubSummary(reportOf(result('fail', 'listing/two', { seen: '```\n# not a heading' })), repeat);
  expect(text).toContain('````text\n```\n# not a heading\n````');
  expect(text).toContain('| listing | 0 | 1 | 0 | 0 |');
  expect(text).toContain('```text\ndevmgr test --only listing/two -- ./plugin\n```');
});

test('a badge says how it went', () => {
  expect(JSON.parse(badgeJson(MIXED))).toEqual({
    schemaVersion: 1,
    label: 'device plugin',
    message: '1 of 3 checks failed',
    color: 'red',
  });
  expect(JSON.parse(badgeJson(reportOf(result('pass', 'listing/two'))))).toMatchObject({
    message: '1 check passed',
    color: 'brightgreen',
  });
  const warned = reportOf(result('pass', 'listing/two'), result('warn', 'listing/three'));
  expect(JSON.parse(badgeJson(warned))).toMatchObject({ message: '2 checks passed, 1 warning', color: 'yellow' });
  expect(badgeSvg(warned)).toContain('2 checks passed, 1 warning</text>');
});

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { CHECKS, GROUPS, MANAGER_CHECKS, groupOf, selectChecks } from '../src/index.ts';

const ALL = [...CHECKS, ...MANAGER_CHECKS];

test('every check has an id of its own, in its group', () => {
  expect(new Set(ALL.map(({ id }) => id)).size).toBe(ALL.length);
  for (const check of ALL) {
    expect(check.id).toMatch(/^[a-z-]+\/[a-z0-9-]+$/);
    expect(GROUPS).toContain(groupOf(check));
  }
});

test('every check says what, why with its source, and what to do', () => {
  for (const { id, title, why, remedy } of ALL) {
    for (const text of [title, why, remedy]) expect(text, id).toMatch(/^[A-Z].*[.)]$/s);
    expect(title.length, id).toBeLessThan(100);
  }
});

test('what disturbs a plugin beyond what managers do is asked for', () => {
  for (const { id, stage, level } of CHECKS) if (stage === 'destructive') expect(level, id).toBe('full');
});

test('a selection names checks or groups, and says what it does not know', () => {
  const { checks, unknown } = selectChecks({
    level: 'quick',
    only: ['restart', 'nonsense'],
    skip: ['restart/stays-alive'],
  });
  expect(unknown).toEqual(['nonsense']);
  expect(checks.length).toBeGreaterThan(0);
  expect(checks.every((check) => groupOf(check) === 'restart' && check.level === 'quick')).toBe(true);
  expect(checks.map(({ id }) => id)).not.toContain('restart/stays-alive');
});

test('docs/checks.md is what the checks say', () => {
  const script = fileURLToPath(new URL('../../../scripts/check-table.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});

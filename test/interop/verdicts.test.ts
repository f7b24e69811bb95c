/**
 * The verdicts of `devmgr test` on plugins of other projects, unmodified: what is known to be wrong with them is found,
 * and nothing else is. With WRITE_VERDICTS=1 (`npm run verdicts`) docs/plugins.md is written from them.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { PLUGIN_PAGE, pluginPage } from './plugin-page.ts';
import { SUBJECTS } from './subjects.ts';
import { LIMIT_MS, findings, verdictOn, type JsonReport } from './verdict.ts';

const peers = inject('peers');
const reports = new Map<string, JsonReport>();

// Most of the time is waiting; more than three at once would make it a test of the machine.
describe.concurrent('the verdict on', () => {
  for (const subject of SUBJECTS) {
    it(
      subject.title,
      async ({ skip }) => {
        const peer = peers[subject.peer];
        if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? `${subject.peer} is unknown`);
        if (subject.needsRoot === true && process.geteuid?.() !== 0) return skip('its device nodes need root');
        const report = await verdictOn(subject, peer);
        reports.set(subject.name, report);
        const found = findings(report);
        const texts = found.map(({ id, status, message, seen }) => `${status} ${id}: ${message}\n${seen}`).join('\n');
        const ids = found.map(({ id }) => id).filter((id) => !(id in subject.may));
        expect(ids.sort(), texts).toEqual(Object.keys(subject.expected).sort());
        for (const { id, message, seen } of found) {
          const says = (subject.expected[id] ?? subject.may[id])?.says;
          if (says !== undefined) expect(`${message}\n${seen}`, id).toMatch(says);
        }
      },
      LIMIT_MS + 30_000,
    );
  }
});

afterAll(() => {
  if (process.env['WRITE_VERDICTS'] !== '1') return;
  const missing = SUBJECTS.filter(({ name }) => !reports.has(name)).map(({ name }) => name);
  if (missing.length > 0) throw new Error(`docs/plugins.md is not written: no verdict on ${missing.join(', ')}`);
  writeFileSync(PLUGIN_PAGE, pluginPage(SUBJECTS, reports));
});

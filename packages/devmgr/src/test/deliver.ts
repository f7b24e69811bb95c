import { writeFileSync } from 'node:fs';
import { badgeJson, badgeSvg, githubSummary, type Report } from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { print, type CommandContext } from '../context.ts';
import { fileFormat, render } from './render.ts';
import type { TestOptions } from './test-options.ts';

/** Prints or writes a report, its badge and its summary. `target` is what was tested, as words of the command line. */
export function deliver(report: Report, target: string, options: TestOptions, context: CommandContext): void {
  const repeat = (id: string): string => `devmgr test --only ${id} ${target}`;
  const { report: format, output, badge, strict = false } = options;
  if (output === undefined || format === 'github') {
    print(render(report, format, { style: context.stdoutStyle, strict, repeat }));
  }
  if (output !== undefined) {
    write('--output', output, render(report, fileFormat(format, output), { style: undefined, strict, repeat }));
  }
  if (badge !== undefined) write('--badge', badge, badge.endsWith('.json') ? badgeJson(report) : badgeSvg(report));
  const summaryFile = process.env['GITHUB_STEP_SUMMARY'];
  if (options.report === 'github' && summaryFile) {
    write('GITHUB_STEP_SUMMARY', summaryFile, `${githubSummary(report, repeat)}\n`, 'a');
  }
}

function write(place: string, path: string, text: string, flag: 'w' | 'a' = 'w'): void {
  try {
    writeFileSync(path, text, { flag });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('USAGE', `${place}: ${why}`, { cause: error, remedy: 'Name a file that can be written.' });
  }
}

/** A word as a shell reads it back. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

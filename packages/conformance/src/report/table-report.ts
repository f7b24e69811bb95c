import { GROUPS } from '../check.ts';
import { hasPassed, type CheckResult, type Report, type Status } from './report.ts';

/** How the table may emphasise; identity functions for plain text. */
export interface Paint {
  readonly bold: (text: string) => string;
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly doubtful: (text: string) => string;
}

export const PLAIN: Paint = { bold: same, good: same, bad: same, doubtful: same };

const WORDS: Readonly<Record<Status, string>> = { pass: 'PASS', fail: 'FAIL', warn: 'WARN', skip: 'SKIP' };

/** The report for people: a line a group, and below it whatever in it failed, explained. */
export function tableReport(
  report: Report,
  options: { paint?: Paint; repeat: (id: string) => string; strict?: boolean },
): string {
  const { paint = PLAIN, repeat } = options;
  const lines: string[] = [];
  for (const { name, devices, healthy } of report.plugin.resources) {
    lines.push(`${paint.bold(name)}  ${count(devices, 'device')}, ${String(healthy)} healthy`);
  }
  if (lines.length > 0) lines.push('');
  for (const group of GROUPS) {
    const checks = report.checks.filter((check) => check.group === group);
    if (checks.length === 0) continue;
    lines.push(groupLine(group, checks, paint));
    const told = checks.filter(({ status }) => status === 'fail' || status === 'warn');
    for (const check of told) lines.push(...explain(check, paint, repeat));
    if (told.length > 0) lines.push('');
  }
  lines.push('', verdict(report, paint, options.strict === true));
  return `${lines.join('\n')}\n`;
}

function groupLine(group: string, checks: readonly CheckResult[], paint: Paint): string {
  const of = (status: Status): number => checks.filter((check) => check.status === status).length;
  const parts = (['pass', 'fail', 'warn', 'skip'] as const)
    .filter((status) => of(status) > 0)
    .map(
      (status) =>
        `${String(of(status))} ${status === 'pass' ? 'passed' : status === 'fail' ? 'failed' : status === 'warn' ? 'warned' : 'skipped'}`,
    );
  const worst: Status = of('fail') > 0 ? 'fail' : of('warn') > 0 ? 'warn' : of('pass') > 0 ? 'pass' : 'skip';
  // Where nothing was tested at all one wants to know why.
  const reasons = worst === 'skip' ? ` (${clean([...new Set(checks.map(({ message }) => message))].join('; '))})` : '';
  return `${colour(worst, paint)(WORDS[worst])}  ${group.padEnd(14)} ${parts.join(', ')}${reasons}`;
}

function explain(check: CheckResult, paint: Paint, repeat: (id: string) => string): string[] {
  return [
    '',
    `  ${colour(check.status, paint)(WORDS[check.status])}  ${paint.bold(check.id)}: ${clean(check.message)}`,
    ...(check.seen === '' ? [] : entry('seen', check.seen.split('\n').map(clean))),
    ...entry('why', wrap(`${check.title} ${check.why}`)),
    ...entry('remedy', wrap(check.remedy)),
    ...entry('repeat', [clean(repeat(check.id))]),
  ];
}

/** A word in the margin and lines beside it. */
function entry(name: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `        ${(index === 0 ? name : '').padEnd(8)}${line}`.trimEnd());
}

const WIDTH = 100;

/** Breaks prose into lines. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

function verdict(report: Report, paint: Paint, strict: boolean): string {
  const { pass, fail, warn, skip, seconds } = report.summary;
  const word = !hasPassed(report, strict) ? paint.bad('FAIL') : paint.good('PASS');
  return `${word}  ${String(pass)} passed, ${String(fail)} failed, ${String(warn)} warned, ${String(skip)} skipped in ${String(seconds)} s`;
}

function colour(status: Status, paint: Paint): (text: string) => string {
  if (status === 'fail') return paint.bad;
  if (status === 'warn') return paint.doubtful;
  return status === 'pass' ? paint.good : same;
}

/** A plugin's own words may hold anything: no terminal escapes pass. */
function clean(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/gu, ' ');
}

function count(number: number, noun: string): string {
  return `${String(number)} ${noun}${number === 1 ? '' : 's'}`;
}

function same(text: string): string {
  return text;
}

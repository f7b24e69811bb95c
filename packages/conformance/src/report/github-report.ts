import { GROUPS } from '../check.ts';
import type { CheckResult, Report, Status } from './report.ts';

/** Workflow commands: an annotation for each failure and warning. (GitHub Actions: workflow commands) */
export function githubAnnotations({ checks }: Report): string {
  return checks
    .filter(({ status }) => status === 'fail' || status === 'warn')
    .map((check) => {
      const text = [check.message, check.seen, `Why: ${check.title} ${check.why}`, `Remedy: ${check.remedy}`];
      const command = check.status === 'fail' ? 'error' : 'warning';
      return `::${command} title=${escapeProperty(`devmgr test: ${check.id}`)}::${escapeData(text.filter(Boolean).join('\n'))}\n`;
    })
    .join('');
}

const MARKS: Readonly<Record<Status, string>> = { pass: '✅', fail: '❌', warn: '⚠️', skip: '➖' };

/** The report as Markdown, for the summary of a job. */
export function githubSummary(report: Report, repeat: (id: string) => string): string {
  const { pass, fail, warn, skip, seconds } = report.summary;
  const sums = `${String(pass)} passed, ${String(fail)} failed, ${String(warn)} warned, ${String(skip)} skipped in ${String(seconds)} s`;
  const rows = GROUPS.flatMap((group) => {
    const own = report.checks.filter((check) => check.group === group);
    if (own.length === 0) return [];
    const of = (status: Status): string => String(own.filter((check) => check.status === status).length);
    return [`| ${group} | ${of('pass')} | ${of('fail')} | ${of('warn')} | ${of('skip')} |`];
  });
  const resources = report.plugin.resources.map(
    ({ name, devices, healthy }) => `${code(name)}: ${String(devices)} devices, ${String(healthy)} healthy`,
  );
  return [
    `## ${fail > 0 ? MARKS.fail : MARKS.pass} devmgr test: ${sums}`,
    '',
    ...resources.flatMap((line) => [`- ${line}`]),
    '',
    '| group | passed | failed | warned | skipped |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
    ...report.checks
      .filter(({ status }) => status === 'fail' || status === 'warn')
      .flatMap((check) => section(check, repeat)),
  ].join('\n');
}

function section(check: CheckResult, repeat: (id: string) => string): string[] {
  const seen = check.seen === '' ? [] : ['', fenced(check.seen)];
  return [
    `### ${MARKS[check.status]} ${check.id}`,
    '',
    text(check.message),
    ...seen,
    '',
    `**Why:** ${text(`${check.title} ${check.why}`)}`,
    '',
    `**Remedy:** ${text(check.remedy)}`,
    '',
    fenced(repeat(check.id)),
    '',
  ];
}

/** A block in which nothing is markup, whatever a plugin printed. */
function fenced(content: string): string {
  const longest = Math.max(2, ...[...content.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}text\n${content}\n${fence}`;
}

function code(content: string): string {
  return `\`${content.replaceAll('`', "'")}\``;
}

function text(content: string): string {
  return content.replaceAll(/[\\`*_{}[\]<>#|]/g, String.raw`\$&`).replaceAll('\n', ' ');
}

function escapeData(content: string): string {
  return content.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(content: string): string {
  return escapeData(content).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

import { GROUPS } from '../check.ts';
import type { CheckResult, Report } from './report.ts';

/** The report as JUnit XML: a suite a group, a case a check. Warnings pass, and say so in the output of their case, unless `strict`. */
export function junitReport({ checks, summary }: Report, { strict }: { strict: boolean }): string {
  const fails = (check: CheckResult): boolean => check.status === 'fail' || (strict && check.status === 'warn');
  const suites = GROUPS.flatMap((group) => {
    const own = checks.filter((check) => check.group === group);
    if (own.length === 0) return [];
    const skipped = own.filter(({ status }) => status === 'skip').length;
    const head = `  <testsuite name="${group}" tests="${String(own.length)}" failures="${String(own.filter(fails).length)}" errors="0" skipped="${String(skipped)}">`;
    return [head, ...own.flatMap((check) => caseOf(check, fails(check))), '  </testsuite>'];
  });
  const failures = String(checks.filter(fails).length);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="devmgr test" tests="${String(checks.length)}" failures="${failures}" errors="0" skipped="${String(summary.skip)}" time="${String(summary.seconds)}">`,
    ...suites,
    '</testsuites>',
    '',
  ].join('\n');
}

function caseOf(check: CheckResult, failed: boolean): string[] {
  const open = `    <testcase classname="${check.group}" name="${xml(check.id)}"`;
  if (check.status === 'skip')
    return [`${open}>`, `      <skipped message="${xml(check.message)}"/>`, '    </testcase>'];
  if (check.status === 'pass') return [`${open}/>`];
  const text = xml(
    [check.seen, `Why: ${check.title} ${check.why}`, `Remedy: ${check.remedy}`].filter(Boolean).join('\n'),
  );
  const body = failed
    ? `      <failure type="${check.severity}" message="${xml(check.message)}">${text}</failure>`
    : `      <system-out>warning: ${xml(check.message)}\n${text}</system-out>`;
  return [`${open}>`, body, '    </testcase>'];
}

/** Text for XML 1.0, in which most control characters cannot be said at all. */
function xml(text: string): string {
  return (
    text
      // eslint-disable-next-line no-control-regex -- control characters are what is looked for
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      .replaceAll('\n', '&#10;')
  );
}

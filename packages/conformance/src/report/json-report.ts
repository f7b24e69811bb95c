import type { Report } from './report.ts';

/** The report for programs: `{plugin or manager, checks: [{id, group, severity, status, message, seen, remedy}], summary}`. */
export function jsonReport({ plugin, manager, checks, summary }: Report): string {
  const rows = checks.map(({ id, group, severity, status, message, seen, remedy }) => ({
    id,
    group,
    severity,
    status,
    message,
    seen,
    remedy,
  }));
  return `${JSON.stringify({ ...(manager === undefined ? { plugin } : { manager }), checks: rows, summary }, undefined, 2)}\n`;
}

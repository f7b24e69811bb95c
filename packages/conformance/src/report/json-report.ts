import type { Report } from './report.ts';

/** The report for programs: `{plugin, checks: [{id, group, severity, status, message, seen, remedy}], summary}`. */
export function jsonReport({ plugin, checks, summary }: Report): string {
  const rows = checks.map(({ id, group, severity, status, message, seen, remedy }) => ({
    id,
    group,
    severity,
    status,
    message,
    seen,
    remedy,
  }));
  return `${JSON.stringify({ plugin, checks: rows, summary }, undefined, 2)}\n`;
}

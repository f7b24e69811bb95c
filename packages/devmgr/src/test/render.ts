import { PLAIN, jsonReport, tableReport, type Report } from '@devmgr/conformance';
import type { Style } from '../output/style.ts';

export type ReportFormat = 'table' | 'json';

/** A report as text. */
export function render(
  report: Report,
  format: ReportFormat,
  options: { style: Style | undefined; repeat: (id: string) => string },
): string {
  const { style, repeat } = options;
  switch (format) {
    case 'json':
      return jsonReport(report);
    case 'table': {
      if (style === undefined) return tableReport(report, { repeat });
      const { bold, red, cyan } = style;
      return tableReport(report, { paint: { ...PLAIN, bold, bad: red, doubtful: cyan }, repeat });
    }
  }
}

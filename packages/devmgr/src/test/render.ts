import { PLAIN, githubAnnotations, jsonReport, junitReport, tableReport, type Report } from '@devmgr/conformance';
import type { Style } from '../output/style.ts';

export type ReportFormat = 'table' | 'json' | 'junit' | 'github';

export interface RenderOptions {
  /** Undefined for plain text. */
  readonly style: Style | undefined;
  readonly strict: boolean;
  /** How to make one check alone. */
  readonly repeat: (id: string) => string;
}

/** What goes into a file. GitHub's commands do their work in the log alone; a file beside it is JUnit or JSON, by its name. */
export function fileFormat(format: ReportFormat, path: string): ReportFormat {
  if (format !== 'github') return format;
  return path.endsWith('.xml') ? 'junit' : 'json';
}

/** A report as text. */
export function render(report: Report, format: ReportFormat, options: RenderOptions): string {
  switch (format) {
    case 'json':
      return jsonReport(report);
    case 'junit':
      return junitReport(report, options);
    case 'github':
      // The table is what people read in the log; the commands are taken out of it by the runner.
      return tableReport(report, options) + githubAnnotations(report);
    case 'table': {
      const { style } = options;
      if (style === undefined) return tableReport(report, options);
      const { bold, red, cyan } = style;
      return tableReport(report, { ...options, paint: { ...PLAIN, bold, bad: red, doubtful: cyan } });
    }
  }
}

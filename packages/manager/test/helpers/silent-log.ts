import type { Logger } from '../../src/ports.ts';

/** A log that keeps what is written, for tests that look at it, and prints nothing. */
export class SilentLog implements Logger {
  readonly lines: { readonly level: string; readonly message: string; readonly fields: object }[];

  constructor(lines: SilentLog['lines'] = []) {
    this.lines = lines;
  }

  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', message, fields });
  }

  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', message, fields });
  }

  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', message, fields });
  }

  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', message, fields });
  }

  child(): SilentLog {
    return new SilentLog(this.lines);
  }
}

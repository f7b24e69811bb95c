import { destination as fileDestination, pino } from 'pino';
import type { Logger } from '../ports.ts';
import { formatLogLine } from './log-format.ts';

export interface LogOptions {
  /** How often `-v` was given: 0 tells what happens, 1 and more every step. Below 0 only warnings and errors. */
  readonly level: number;
  /** One line for people instead of JSON; when standard error is a terminal, unless set. */
  readonly pretty?: boolean;
  /** Where lines go; standard error unless set. Must not throw. */
  readonly destination?: { write(text: string): unknown };
}

/**
 * The daemon's log: constant messages with fields, as JSON lines or one line for people. Writing never blocks the
 * event loop; what is pending is flushed when the process ends.
 */
export function createLog(options: LogOptions): Logger {
  const pretty = options.pretty ?? (options.destination === undefined && process.stderr.isTTY);
  // Asynchronous: a terminal that was paused or a full pipe must not stop the manager.
  const output = options.destination ?? fileDestination({ fd: 2, sync: false });
  const stream = pretty ? { write: (line: string) => output.write(formatLogLine(line)) } : output;
  return pino(
    { level: options.level < 0 ? 'warn' : options.level === 0 ? 'info' : 'debug', base: { pid: process.pid } },
    { write: (line) => void stream.write(line) },
  );
}

/** Structured log of a plugin: one constant message plus fields. `pino` satisfies it. */
export interface PluginLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Says nothing; what a plugin uses unless it was given a log. */
export const silentLog: PluginLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** One line per message on stderr, for plugins that bring no log of their own. `debug` messages only when asked for. */
export function consoleLog(options: { debug?: boolean } = {}): PluginLog {
  const write = (level: string) => (fields: object, message: string) => {
    const details = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
    process.stderr.write(`${new Date().toISOString()} ${level} ${message}${details.join('')}\n`);
  };
  return {
    debug: options.debug === true ? write('debug') : () => undefined,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  };
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

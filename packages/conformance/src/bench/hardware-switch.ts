import { spawn } from 'node:child_process';
import { DevmgrError } from '@devmgr/core';

/** Makes the hardware of a plugin change: `remove` takes a device away, `add` brings it back. */
export interface HardwareSwitch {
  change(direction: 'remove' | 'add'): Promise<void>;
}

/**
 * A command of the user's as hardware switch. It is run by the shell with `remove` or `add` as its last argument and in
 * DEVMGR_HARDWARE. Rejects with DevmgrError USAGE and the command's own words when it fails.
 */
export function hardwareCommand(command: string, timeoutMs: number): HardwareSwitch {
  return {
    change: (direction) =>
      new Promise((resolve, reject) => {
        const child = spawn('/bin/sh', ['-c', `${command} "$@"`, 'sh', direction], {
          stdio: ['ignore', 'ignore', 'pipe'],
          env: { ...process.env, DEVMGR_HARDWARE: direction },
          timeout: timeoutMs,
        });
        let said = '';
        child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
        const fail = (how: string): void => {
          const words = said.trim() === '' ? '' : `: ${said.trim()}`;
          const message = `--hardware-change failed with "${direction}" (${how})${words}`;
          reject(
            new DevmgrError('USAGE', message, { remedy: 'Try the command by itself, with that word at its end.' }),
          );
        };
        child.once('error', (error) => {
          fail(error.message);
        });
        child.once('close', (code, signal) => {
          if (code === 0) resolve();
          else fail(signal ?? `exit code ${String(code)}`);
        });
      }),
  };
}

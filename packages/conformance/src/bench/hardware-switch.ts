import { spawn } from 'node:child_process';

/** Makes the hardware of a plugin change: `remove` takes a device away, `add` brings it back. */
export interface HardwareSwitch {
  change(direction: 'remove' | 'add'): Promise<void>;
}

/**
 * A command of the user's as hardware switch. It is run by the shell with `remove` or `add` as its last argument and in
 * DEVMGR_HARDWARE. Rejects with the command's own words when it fails.
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
        child.once('error', reject);
        child.once('close', (code, signal) => {
          if (code === 0) resolve();
          else
            reject(new Error(`the hardware command failed (${signal ?? `exit code ${String(code)}`}): ${said.trim()}`));
        });
      }),
  };
}

import { readFileSync } from 'node:fs';

/** Changes with every boot of the machine; undefined where the kernel does not tell. */
export function readBootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return undefined;
  }
}

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new directory to stand for /var/lib/kubelet; short, since sockets lie below it. Who makes it removes it. */
export function temporaryRoot(): string {
  return mkdtempSync(join(Buffer.byteLength(tmpdir()) <= 12 ? tmpdir() : '/tmp', 'dmt-'));
}

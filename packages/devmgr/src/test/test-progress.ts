import type { CheckResult } from '@devmgr/conformance';

/** One line on stderr that says what is being tested, for people at a terminal. */
export class TestProgress {
  readonly #total: number;
  readonly #shown = process.stderr.isTTY;
  #done = 0;
  #failed = 0;

  constructor(total: number) {
    this.#total = total;
  }

  started(id: string): void {
    const failed = this.#failed === 0 ? '' : `, ${String(this.#failed)} failed`;
    if (this.#shown)
      process.stderr.write(`\r\u001b[K${String(this.#done + 1)}/${String(this.#total)}${failed}  ${id} …`);
  }

  ended({ status }: CheckResult): void {
    this.#done += 1;
    if (status === 'fail') this.#failed += 1;
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\u001b[K');
  }
}

import { createInterface } from 'node:readline';
import { ManagerDriver } from './driver/manager-driver.ts';
import type { Command } from './protocol.ts';

/** devmgr behind the oracle's protocol, on standard input and output. Commands are answered in order; ends with its input. */
const driver = new ManagerDriver();
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await driver.close();
process.exit(0);

async function answer(line: string): Promise<object> {
  let id = 0;
  try {
    const command = JSON.parse(line) as Command;
    id = command.id ?? 0;
    return { id, result: (await driver.do(command)) ?? null };
  } catch (error) {
    return { id, result: null, error: error instanceof Error ? error.message : String(error) };
  }
}

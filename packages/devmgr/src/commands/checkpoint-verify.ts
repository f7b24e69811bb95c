import { DevmgrError } from '@devmgr/core';
import type { Command } from 'commander';
import { loadCheckpoint } from '../checkpoint/checkpoint-file.ts';
import { reportOn, type CheckpointReport } from '../checkpoint/checkpoint-report.ts';
import { print } from '../context.ts';
import { newCommand, outputOption } from '../new-command.ts';
import { Description } from '../output/description.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';

/** `devmgr checkpoint verify FILE`: what is wrong with it, and where; fails when something is. */
export function checkpointVerifyCommand(): Command {
  return newCommand('verify', 'check a device checkpoint: ends with 0 when it is good, with 1 when it is not', [
    { command: 'devmgr checkpoint verify kubelet_internal_checkpoint', purpose: 'what is wrong with it, and where' },
    { command: 'devmgr checkpoint verify copy -o json', purpose: 'the same for a script' },
  ])
    .argument('<file>', 'kubelet_internal_checkpoint, a directory that has one, or - for standard input')
    .addOption(outputOption(['table', 'json', 'yaml']))
    .action(async (path: string, { output }: { output: OutputFormat }) => {
      const report = reportOn(await loadCheckpoint(path));
      print(output === 'json' || output === 'yaml' ? formatObject(report, output) : describe(report));
      if (report.valid) return;
      const errors = report.findings.filter(({ severity }) => severity === 'error');
      const [first] = errors;
      const others = errors.length > 1 ? `, and ${String(errors.length - 1)} more` : '';
      throw new DevmgrError(
        'CHECKPOINT_INVALID',
        `${report.file}: ${first === undefined ? 'not valid' : `${first.place}: ${first.message}`}${others}`,
        { remedy: 'docs/checkpoint.md says what each finding means and what can be done.' },
      );
    });
}

function describe(report: CheckpointReport): string {
  const { file, sizeBytes, valid, version, checksum, writtenBy, entries, pods, resources, findings } = report;
  const description = new Description()
    .field('File', `${file} (${String(sizeBytes)} bytes)`)
    .field('Verdict', valid ? 'valid' : 'not valid');
  if (checksum !== null) {
    const expected = checksum.expected.map((one) => `${String(one.checksum)} (version ${String(one.version)})`);
    description
      .field('Version', version)
      .field(
        'Checksum',
        `${String(checksum.found)} (${version === null ? `expected ${expected.join(' or ')}` : 'correct'})`,
      )
      .field('Written by', writtenBy === 'devmgr' ? 'devmgr' : 'a kubelet')
      .field(
        'Content',
        `${count(entries, 'entry', 'entries')} of ${count(pods, 'pod')}, ${count(resources, 'resource')}`,
      );
  }
  if (findings.length === 0) return description.field('Findings', 'none').toString();
  return description
    .section('Findings')
    .table([
      ['Severity', 'Place', 'Message'],
      ...findings.map(({ severity, place, message }) => [severity, place, message]),
    ])
    .toString();
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${String(number)} ${number === 1 ? one : many}`;
}

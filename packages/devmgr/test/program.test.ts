import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from '../src/program.ts';

function leaves(command: Command, path = ''): [string, Command][] {
  const here = `${path} ${command.name()}`.trim();
  if (command.commands.length === 0) return [[here, command]];
  return command.commands.flatMap((child) => leaves(child, here));
}

test('the commands are those of the contract', () => {
  expect(leaves(createProgram()).map(([path]) => path)).toEqual([
    'devmgr demo',
    'devmgr start',
    'devmgr get',
    'devmgr describe',
    'devmgr explain',
    'devmgr apply',
    'devmgr delete',
    'devmgr logs',
    'devmgr wait',
    'devmgr run',
    'devmgr plugin run',
    'devmgr plugin host',
    'devmgr test',
    'devmgr replay',
    'devmgr simulate get',
    'devmgr simulate set',
    'devmgr simulate add',
    'devmgr simulate remove',
    'devmgr simulate flap',
    'devmgr simulate hang',
    'devmgr simulate fail',
    'devmgr simulate slow',
    'devmgr simulate flood',
    'devmgr simulate lie',
    'devmgr simulate oversize',
    'devmgr simulate end-streams',
    'devmgr simulate die',
    'devmgr simulate restart',
    'devmgr simulate calm',
    'devmgr checkpoint show',
    'devmgr checkpoint verify',
    'devmgr checkpoint convert',
    'devmgr version',
    'devmgr completion',
  ]);
});

test.each(leaves(createProgram()))('the help of "%s" has an example of it', (path, command) => {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  const [, examples = ''] = text.split('Examples:\n');
  expect(examples).toContain(path === 'devmgr plugin run' ? 'devmgr plugin run' : path);
  expect(examples).toContain('#');
  expect(text).toContain('--root-dir');
});

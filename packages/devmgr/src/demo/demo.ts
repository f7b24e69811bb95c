import { basename } from 'node:path';
import { note, print } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import type { Style } from '../output/style.ts';
import { Narrator, StoryInterrupted } from './narrator.ts';
import { GPU_RESOURCE, Stage } from './stage.ts';
import { tellStory } from './story.ts';

/** Time to read a paragraph of the story. */
const PACE_MS = 900;

export interface DemoOptions {
  /** Undefined for a fresh temporary directory that is removed at the end. */
  readonly rootDir: string | undefined;
  /** Tell the story and leave. */
  readonly once: boolean;
  readonly style: Style;
  readonly runCommand: (words: readonly string[]) => Promise<number>;
}

/**
 * The demo: a manager and plugins in this process, a story about them on stdout, then it stays up until it is
 * interrupted. However it ends, nothing of it is left; a second interruption ends it at once.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const interruption = new Interruption();
  interruption.onAgain = () => process.exit(interruption.exitCode);
  const stage = await Stage.open(options.rootDir);
  // The commands of the story find the manager as any command does.
  process.env['DEVMGR_ROOT_DIR'] = stage.rootDir;
  try {
    const narrator = new Narrator({
      style: options.style,
      signal: interruption.signal,
      paceMs: options.once ? PACE_MS / 10 : PACE_MS,
      runCommand: options.runCommand,
    });
    print(`devmgr at work in ${stage.rootDir}, without root and without Kubernetes\n`);
    await tellStory(narrator, stage);
    if (!options.once) {
      print(whatNext(stage.rootDir, options));
      await interruption.requested;
    }
  } catch (error) {
    if (!(error instanceof StoryInterrupted)) throw error;
  } finally {
    if (interruption.by !== undefined) note('\nStopping the pods, the plugins and the manager …');
    await stage.close();
    interruption.stop();
  }
  if (options.rootDir === undefined) note(`Nothing is left of ${stage.rootDir}.`);
}

function whatNext(rootDir: string, { style }: DemoOptions): string {
  const devmgr = basename(process.argv[1] ?? '') === 'devmgr' ? 'devmgr' : 'npx devmgr';
  const lines = [
    `export DEVMGR_ROOT_DIR=${rootDir}`,
    `${devmgr} get devices`,
    `${devmgr} run --limits ${GPU_RESOURCE}=2 -- env`,
    `${devmgr} describe pod too-many-gpus`,
    `${devmgr} delete pod gpu-pair`,
    `${devmgr} get events -w`,
  ];
  return `
${style.bold('It stays up. Try in another terminal, in this directory:')}
${lines.map((line) => `  ${style.cyan(line)}`).join('\n')}
${style.bold('Ctrl-C ends it')} and leaves nothing behind.
`;
}

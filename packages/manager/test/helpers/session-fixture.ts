import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openSession, type SessionOptions } from '../../src/plugins/plugin-session.ts';
import type { PluginSession } from '../../src/ports.ts';
import { SystemClock } from '../../src/system-clock.ts';
import { RecordingHost } from './recording-host.ts';
import { ScriptedPlugin, type PluginScript } from './scripted-plugin.ts';
import { SilentLog } from './silent-log.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** A host and a directory for sessions; everything is closed when the test is over. */
export class SessionFixture {
  readonly host = new RecordingHost();
  readonly log = new SilentLog();
  readonly directory = temporaryDirectory();

  path(name = 'p.sock'): string {
    return join(this.directory, name);
  }

  async plugin(script: PluginScript = {}, name = 'p.sock'): Promise<ScriptedPlugin> {
    const plugin = await ScriptedPlugin.start(this.path(name), script);
    onTestFinished(() => plugin.stop());
    return plugin;
  }

  async open(overrides: Partial<SessionOptions> = {}): Promise<PluginSession> {
    const session = await openSession({
      resource: 'example.com/r',
      socketPath: this.path(),
      origin: 'register',
      dialTimeoutMs: 10_000,
      optionsTimeoutMs: 10_000,
      maxReceiveBytes: 64 * 1024 * 1024,
      clock: new SystemClock(),
      log: this.log,
      host: this.host,
      ...overrides,
    });
    onTestFinished(() => {
      session.close();
    });
    return session;
  }
}

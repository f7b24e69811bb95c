/** The plugin ended although nobody had asked it to. */
export class PluginEnded extends Error {
  override readonly name = 'PluginEnded';
  /** For people: `exit code 2`. */
  readonly how: string;
  /** Its last lines. */
  readonly log: readonly string[];

  constructor(how: string, log: readonly string[]) {
    super(`the plugin ended (${how})`);
    this.how = how;
    this.log = log;
  }
}

/** There is no plugin to put a question to; another check says why. */
export class NotReady extends Error {
  override readonly name = 'NotReady';
}

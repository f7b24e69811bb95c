/**
 * Every kind of failure devmgr can report, with what the user can do about it. `docs/errors.md` is this table for
 * people; a test holds the two together. Boundaries (HTTP status, exit code) map these codes in one table each.
 */
export const ERROR_CODES = {
  ALREADY_EXISTS: {
    summary: 'An object of that name exists already.',
    remedy: 'Choose another name, or delete the existing object first.',
  },
  BAD_REQUEST: {
    summary: 'A request to the API could not be understood.',
    remedy: 'Compare the request with docs/api.md.',
  },
  CHECKPOINT_INVALID: {
    summary: 'A checkpoint file could not be read: not JSON, of the wrong shape, or its checksum does not match.',
    remedy: 'Keep the file for inspection; the manager sets it aside and goes on with the previous generation.',
  },
  CONFIG_INVALID: {
    summary: 'The configuration file, an environment variable or a flag has a value that cannot be used.',
    remedy: 'Correct the place the message names; docs/configuration.md lists every setting.',
  },
  CONFLICT: {
    summary: 'The object is not in a state that allows the request.',
    remedy: 'Read the object again and repeat the request if it still applies.',
  },
  DEADLINE_EXCEEDED: {
    summary: 'Something did not happen within its time limit.',
    remedy: 'Look at the events of the object, or allow more time with --timeout.',
  },
  HOOK_FAILED: {
    summary: 'A command that the configuration names for a resource failed, did not end in time, or cannot be run.',
    remedy:
      "Look at its output in the daemon's log; it is tried again. docs/device-lifecycle.md says how hooks are run.",
  },
  INTERNAL: {
    summary: 'devmgr met a state it did not expect.',
    remedy: "Report it with the daemon's log.",
  },
  LISTEN_FAILED: {
    summary: 'A socket could not be opened for listening.',
    remedy: 'Check that the directory exists, is writable, and that the address is free.',
  },
  MANAGER_ALREADY_RUNNING: {
    summary: 'A living kubelet or devmgr serves this root directory.',
    remedy: 'Use another --root-dir, or stop the other manager first.',
  },
  MANAGER_UNREACHABLE: {
    summary: 'No manager answers on the API socket.',
    remedy: 'Start one with "devmgr start", or name its directory with --root-dir or DEVMGR_ROOT_DIR.',
  },
  MANIFEST_INVALID: {
    summary: 'A manifest is not valid YAML or JSON, or not a v1 Pod that can be admitted.',
    remedy: 'Correct the field the message names.',
  },
  NOT_FOUND: {
    summary: 'There is no object of that name.',
    remedy: 'List what exists with "devmgr get".',
  },
  PATH_TOO_LONG: {
    summary: 'A unix socket path is longer than the system allows (107 bytes on Linux).',
    remedy: 'Use a shorter --root-dir.',
  },
  PERMISSION_DENIED: {
    summary: 'The system refused access to a file, directory or process.',
    remedy: 'Run as the user who owns it, or choose a --root-dir of your own.',
  },
  PLUGIN_FAILED: {
    summary: 'A device plugin refused a call, answered wrongly, or did not answer in time.',
    remedy: 'Look at "devmgr describe plugin" and at the log of the plugin.',
  },
  PLUGIN_INVALID: {
    summary: 'A device plugin was described wrongly: its name, its socket, a device, a hook, or a CDI spec.',
    remedy: 'Correct what the message names; nothing was registered or sent.',
  },
  POD_REJECTED: {
    summary: 'Admission refused the pod.',
    remedy: 'Ask why with "devmgr explain".',
  },
  ROOT_DIR_UNUSABLE: {
    summary: 'The root directory cannot be created or written.',
    remedy: 'Choose another directory with --root-dir or DEVMGR_ROOT_DIR.',
  },
  STATE_WRITE_FAILED: {
    summary: 'State could not be made durable (disk full, read-only, or gone).',
    remedy: 'Free space or restore access; nothing that was reported before is lost.',
  },
  USAGE: {
    summary: 'A command was used wrongly.',
    remedy: 'See the command with --help.',
  },
  USER_NAMESPACE_UNAVAILABLE: {
    summary: 'The system does not allow private mount namespaces without root.',
    remedy:
      'Run the command as root, enable unprivileged user namespaces, or point the plugin at the root directory by its own flag.',
  },
} as const satisfies Record<string, { readonly summary: string; readonly remedy: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A failure the caller can act on: `message` says what and where in one line, `remedy` what to do about it. */
export class DevmgrError extends Error {
  override readonly name = 'DevmgrError';
  readonly code: ErrorCode;
  /** What to do about it: the code's remedy unless a more fitting one was given. */
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? ERROR_CODES[code].remedy;
  }
}

import type { Argument, Command, Option } from 'commander';

/** What the shell needs to know about one command of the tree. */
interface CommandWords {
  /** Words from the program's name on, joined by a blank. */
  readonly path: string;
  readonly subcommands: readonly string[];
  readonly flags: readonly string[];
  /** Flags that take a value, and the values, when there is a fixed set of them. */
  readonly valued: readonly { readonly flag: string; readonly choices: readonly string[] }[];
  /** Fixed words the first argument may be. */
  readonly choices: readonly string[];
  /** What `devmgr get` lists the arguments, when they are names. */
  readonly names: readonly string[];
}

/** Arguments that are names of objects, by the name of the argument. */
const NAMED_ARGUMENTS: Readonly<Record<string, string>> = { pod: 'pods', pods: 'pods' };

/** The script that teaches `shell` the commands, flags and values of `program`, generated from its command tree. */
export function completionScript(program: Command, shell: 'bash' | 'zsh'): string {
  const commands = collectWords(program, program.name());
  return shell === 'bash' ? bashScript(program.name(), commands) : zshScript(program.name(), commands);
}

function collectWords(command: Command, path: string): CommandWords[] {
  const options = [...command.options, ...helpOption(command)];
  const own: CommandWords = {
    path,
    subcommands: command.commands.map((child) => child.name()),
    flags: options.flatMap((option) => flagsOf(option)),
    valued: options
      .filter((option) => option.required || option.optional)
      .flatMap((option) => flagsOf(option).map((flag) => ({ flag, choices: option.argChoices ?? [] }))),
    choices: command.registeredArguments[0]?.argChoices ?? [],
    names: command.registeredArguments.flatMap((argument) => namesOf(argument)),
  };
  return [own, ...command.commands.flatMap((child) => collectWords(child, `${path} ${child.name()}`))];
}

function helpOption(command: Command): Option[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter((option) => option.long === '--help');
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined);
}

function namesOf(argument: Argument): string[] {
  const kind = NAMED_ARGUMENTS[argument.name()];
  return kind === undefined ? [] : [kind];
}

/**
 * One function for both shells: walks the words before the cursor to find the command, then offers what may follow.
 * Bash 3.2 (macOS) has to understand it, so no associative arrays.
 */
function bashScript(name: string, commands: readonly CommandWords[]): string {
  const fn = `_${name.replaceAll(/\W/g, '_')}`;
  return `# bash completion for ${name}: source <(${name} completion bash)
${fn}_words() {
  case "$1" in
${commands.map((command) => `    ${quote(command.path)}) echo ${quote(command.subcommands.join(' '))} ;;`).join('\n')}
  esac
}
${fn}_flags() {
  case "$1" in
${commands.map((command) => `    ${quote(command.path)}) echo ${quote(command.flags.join(' '))} ;;`).join('\n')}
  esac
}
${fn}_values() {
  case "$1 $2" in
${commands
  .flatMap((command) =>
    command.valued.map(
      ({ flag, choices }) => `    ${quote(`${command.path} ${flag}`)}) echo ${quote(choices.join(' ') || '*')} ;;`,
    ),
  )
  .join('\n')}
  esac
}
${fn}_arguments() {
  case "$1" in
${commands
  .filter((command) => command.choices.length > 0 || command.names.length > 0)
  .map((command) => {
    const words = command.choices.join(' ');
    const names = command.names.map((kind) => `${name} get ${kind} -o name 2>/dev/null | sed 's,^[^/]*/,,'`);
    return `    ${quote(command.path)}) ${[...(words === '' ? [] : [`echo ${quote(words)}`]), ...names].join('; ')} ;;`;
  })
  .join('\n')}
  esac
}
${fn}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}"
  local path=${quote(name)} word values i skip=
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ -n "$skip" ]]; then skip=; continue; fi
    if [[ "$word" == -- ]]; then COMPREPLY=($(compgen -c -f -- "$cur")); return; fi
    if [[ "$word" == -* ]]; then
      [[ -n "$(${fn}_values "$path" "$word")" ]] && skip=1
      continue
    fi
    for values in $(${fn}_words "$path"); do
      if [[ "$values" == "$word" ]]; then path="$path $word"; break; fi
    done
  done
  values=
  [[ "$prev" == -* ]] && values="$(set -f; ${fn}_values "$path" "$prev")"
  if [[ "$values" == '*' ]]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  elif [[ -n "$values" ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$cur"))
  elif [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$(${fn}_flags "$path")" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$(${fn}_words "$path") $(${fn}_arguments "$path")" -- "$cur"))
  fi
}
complete -o default -F ${fn} ${name}
`;
}

/** zsh runs the bash function through its own emulation, which ships with it. */
function zshScript(name: string, commands: readonly CommandWords[]): string {
  return `#compdef ${name}
# zsh completion for ${name}: source <(${name} completion zsh)
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
${bashScript(name, commands)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

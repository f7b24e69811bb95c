/**
 * Replaces `$(NAME)` by the variable's value, as Kubernetes does in `command`, `args` and `env[].value`: a name that is
 * not known stays as it is written, and `$$` stands for one `$`, so that `$$(NAME)` is left alone.
 * (Kubernetes: v1 Container, fields command, args and env)
 */
export function expandVariables(text: string, valueOf: (name: string) => string | undefined): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (whole: string, name: string | undefined) =>
    name === undefined ? '$' : (valueOf(name) ?? whole),
  );
}

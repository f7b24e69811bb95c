import { DevmgrError, type ObjectMeta } from '@devmgr/core';

/** What `fieldSelector` may name for a kind of object, and how to read it. */
export type SelectableFields<T> = Readonly<Record<string, (object: T) => string>>;

export type Selector<T> = (object: T) => boolean;

interface Requirement {
  readonly key: string;
  readonly operator: '=' | '!=' | 'exists' | 'absent';
  readonly value: string;
}

/** `a=b`, `a==b`, `a!=b`, joined by commas; all must hold. BAD_REQUEST for fields that cannot be selected by. */
export function parseFieldSelector<T>(text: string, fields: SelectableFields<T>): Selector<T> {
  const requirements = parseRequirements(text, 'field').map(({ key, operator, value }) => {
    const read = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (read === undefined || operator === 'exists' || operator === 'absent') {
      const known = Object.keys(fields).join(', ');
      throw new DevmgrError('BAD_REQUEST', `field selector: "${key}" cannot be selected by; use = or != with ${known}`);
    }
    return (object: T) => (read(object) === value) === (operator === '=');
  });
  return (object) => requirements.every((holds) => holds(object));
}

/** `a=b`, `a==b`, `a!=b`, `a` (has the label), `!a` (has it not), joined by commas; all must hold. Sets (`a in (b,c)`) are BAD_REQUEST. */
export function parseLabelSelector(text: string): Selector<{ readonly metadata: ObjectMeta }> {
  const requirements = parseRequirements(text, 'label');
  return ({ metadata }) =>
    requirements.every(({ key, operator, value }) => {
      const labels = metadata.labels ?? {};
      const label = Object.hasOwn(labels, key) ? labels[key] : undefined;
      if (operator === 'exists') return label !== undefined;
      if (operator === 'absent') return label === undefined;
      return (label === value) === (operator === '=');
    });
}

function parseRequirements(text: string, kind: 'field' | 'label'): Requirement[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^(!?)\s*([\w./-]+)\s*(?:(==?|!=)\s*([\w./:-]*))?$/.exec(part);
      const [, negation, key, sign, value] = match ?? [];
      if (key === undefined || (negation === '!' && sign !== undefined)) {
        throw new DevmgrError('BAD_REQUEST', `${kind} selector: cannot read "${part}"; use key=value or key!=value`);
      }
      if (sign === undefined) return { key, operator: negation === '!' ? 'absent' : 'exists', value: '' };
      return { key, operator: sign === '!=' ? '!=' : '=', value: value ?? '' };
    });
}

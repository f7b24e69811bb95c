import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Absolute paths with wildcards: `*` and `?` match within one path segment, `[a-c]` and `[!x]` one character. A leading
 * dot is matched by a dot alone, as in a shell. Node has a glob of its own from version 22 on.
 */
export function hasWildcard(path: string): boolean {
  return /[*?[]/.test(path);
}

/** Existing paths that match, sorted; directories that cannot be read count as empty. */
export async function expandGlob(pattern: string): Promise<string[]> {
  let found = ['/'];
  for (const segment of pattern.split('/').filter((part) => part !== '')) {
    const next: string[] = [];
    const matches = hasWildcard(segment) ? segmentPattern(segment) : undefined;
    for (const dir of found) {
      if (matches === undefined) next.push(join(dir, segment));
      else {
        const names = await readdir(dir).catch(() => []);
        for (const name of names) if (matches.test(name)) next.push(join(dir, name));
      }
    }
    found = next;
  }
  return found.sort();
}

/** The deepest directory of a pattern that is free of wildcards: where matches appear, or appear below. */
export function fixedDirectory(pattern: string): string {
  const segments = pattern.split('/');
  const first = segments.findIndex(hasWildcard);
  return segments.slice(0, first === -1 ? -1 : first).join('/') || '/';
}

/** Matches a whole name that is no path: in it `*` and `?` match a slash too. */
export function namePattern(pattern: string): RegExp {
  return segmentPattern(pattern);
}

function segmentPattern(segment: string): RegExp {
  let source = segment.startsWith('.') ? '' : '(?!\\.)';
  for (let at = 0; at < segment.length; at++) {
    const char = segment.charAt(at);
    const closing = char === '[' ? segment.indexOf(']', at + 2) : -1;
    if (char === '*') source += '.*';
    else if (char === '?') source += '.';
    else if (closing !== -1) {
      const inside = segment
        .slice(at + 1, closing)
        .replace(/^!/, '^')
        .replaceAll('\\', '\\\\')
        .replaceAll('[', '\\[');
      source += `[${inside}]`;
      at = closing;
    } else source += char.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  }
  try {
    return new RegExp(`^${source}$`, 'su');
  } catch {
    return /^(?!)/; // A range like [z-a] matches nothing.
  }
}

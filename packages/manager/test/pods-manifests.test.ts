import { describe, expect, test } from 'vitest';
import { parseManifests } from '../src/pods/manifest-parser.ts';

const pod = (name: string): string => `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n`;

function objects(text: string): unknown[] {
  const parsed = parseManifests(text, 'pod.yaml');
  if (!parsed.ok) throw new Error(parsed.errors.map(({ message }) => message).join('\n'));
  return parsed.manifests.map(({ object }) => object);
}

function errors(text: string): string[] {
  const parsed = parseManifests(text, 'pod.yaml');
  return parsed.ok ? [] : parsed.errors.map(({ message }) => message);
}

describe('parseManifests', () => {
  test('several documents, empty ones and comments between them', () => {
    const text = `# first\n---\n${pod('a')}---\n---\n# nothing\n---\n${pod('b')}`;
    expect(objects(text)).toMatchObject([{ metadata: { name: 'a' } }, { metadata: { name: 'b' } }]);
    const parsed = parseManifests(text, 'pod.yaml');
    expect(parsed.ok && parsed.manifests.map(({ place }) => place)).toEqual(['pod.yaml:3', 'pod.yaml:11']);
    expect(objects('')).toEqual([]);
  });

  test('JSON, lists of either kind', () => {
    const json = '{\n\t"apiVersion": "v1", "kind": "Pod",\n\t"metadata": {"name": "a"}\n}';
    expect(objects(json)).toMatchObject([{ metadata: { name: 'a' } }]);
    const item = { metadata: { name: 'a' } };
    expect(objects(JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items: [item] }))).toEqual([
      { apiVersion: 'v1', kind: 'Pod', ...item },
    ]);
    const nested = {
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'v1', kind: 'List', items: [JSON.parse(json) as unknown] }],
    };
    expect(objects(JSON.stringify(nested))).toMatchObject([{ kind: 'Pod' }]);
  });

  test('anchors, merge keys and numbers as YAML has them', () => {
    const text = `${pod('a')}x: &x {a: 1, b: "2"}\ny:\n  <<: *x\n  c: 0.5\n  d: yes\n`;
    expect(objects(text)).toMatchObject([{ y: { a: 1, b: '2', c: 0.5, d: 'yes' } }]);
  });

  test('errors name file, line and column', () => {
    expect(errors(`${pod('a')}spec:\n  containers:\n  - name: "open\n`)).toEqual([
      expect.stringMatching(/^pod\.yaml:\d+:\d+: .*quote/i),
    ]);
    expect(errors(`${pod('a')}metadata: {}\n`)).toEqual([expect.stringMatching(/^pod\.yaml:5:1: .*unique/i)]);
    expect(errors('apiVersion: v1\n\tkind: Pod\n')[0]).toMatch(/^pod\.yaml:2:1: /);
    expect(errors('{"apiVersion": "v1",\n "kind": }')[0]).toMatch(/^pod\.yaml:\d:\d+: /);
  });

  test('what says not what it is', () => {
    expect(errors('just text')).toEqual(['pod.yaml:1:1: this document is not an object with apiVersion and kind']);
    expect(errors('- a\n- b')).toHaveLength(1);
    expect(errors(`${pod('a')}---\nkind: Pod\n`)).toEqual([
      'pod.yaml:6:1: apiVersion and kind must both be set, for example "apiVersion: v1" and "kind: Pod"',
    ]);
    expect(errors('apiVersion: v1\nkind: List\nitems: 3\n')).toEqual(['pod.yaml:1:1: items of a List must be a list']);
    expect(errors('apiVersion: v1\nkind: List\nitems: [3]\n')).toEqual(['pod.yaml:1:1: items[0] is not an object']);
  });

  test('texts made to exhaust the reader are refused', () => {
    let bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n';
    for (let level = 1; level < 9; level += 1) {
      const alias = `*a${String(level - 1)}`;
      bomb += `a${String(level)}: &a${String(level)} [${Array.from({ length: 10 }, () => alias).join(',')}]\n`;
    }
    expect(errors(`${pod('a')}${bomb}`)).toEqual([expect.stringMatching(/alias/i)]);
    expect(errors('['.repeat(20_000)).length).toBeGreaterThan(0);
    expect(errors('a: {'.repeat(5_000)).length).toBeGreaterThan(0);
    expect(errors('\u0000\u0001�')).toHaveLength(1);
  });
});

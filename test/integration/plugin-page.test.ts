import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PLUGIN_PAGE, idsOnPage } from '../interop/plugin-page.ts';
import { SUBJECTS } from '../interop/subjects.ts';

test('docs/plugins.md says of each plugin what the interoperability tests expect', () => {
  const onPage = idsOnPage(readFileSync(PLUGIN_PAGE, 'utf8'));
  expect([...onPage.keys()]).toEqual(SUBJECTS.map(({ name }) => name));
  for (const { name, expected, may } of SUBJECTS) {
    const ids = onPage.get(name)?.filter((id) => !(id in may)) ?? [];
    expect(ids.toSorted(), `${name}: npm run verdicts`).toEqual(Object.keys(expected).toSorted());
  }
});

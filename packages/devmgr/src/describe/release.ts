import type { ApiClient, ReleaseView } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { releaseNextWord } from '../output/columns.ts';
import { Description } from '../output/description.ts';
import { describeEvents, eventsNaming } from './events.ts';

/** Text for each release that is meant: by name or resource. */
export async function describeRelease(
  manager: ApiClient,
  selection: { names: readonly string[] },
): Promise<readonly string[]> {
  const [releases, events] = await Promise.all([manager.releases(), manager.listEvents()]);
  const meant = select('release', releases, selection.names, (release, name) =>
    [release.name, release.resource].includes(name),
  );
  return meant.map((release) => {
    const nowMs = Date.now();
    const description = new Description()
      .field('Name', release.name)
      .field('Resource', release.resource)
      .field('Devices', release.devices.join(', '))
      .field('Pod', release.pod)
      .field('Container', release.container);
    describeAttempts(description, release, nowMs, 0);
    const about = eventsNaming(eventsNaming(events.items, release.resource), release.devices[0] ?? '');
    describeEvents(description, about, nowMs);
    return description.toString();
  });
}

/** How far the release has come. */
export function describeAttempts(description: Description, release: ReleaseView, nowMs: number, indent: number): void {
  description
    .field('State', `${release.state} for ${ageOf(release.since, nowMs)}`, indent)
    .field('Next', releaseNextWord(release, nowMs), indent)
    .field('Attempts', release.attempts, indent)
    .field('Failures', release.failures, indent)
    .field('Last Error', release.lastError, indent);
}

// A device plugin that has one defect, named by the argument; `--list` prints all of them, with the checks that must find each.
import { ALLOCATION_DEFECTS } from './defects/allocation.js';
import { COMPATIBILITY_DEFECTS } from './defects/compatibility.js';
import { GOOD_PLUGINS } from './good-plugins.js';
import { HARDWARE_DEFECTS } from './defects/hardware.js';
import { LISTING_DEFECTS } from './defects/listing.js';
import { MANNERS_DEFECTS } from './defects/manners.js';
import { PREFERENCE_DEFECTS } from './defects/preference.js';
import { REGISTRATION_DEFECTS } from './defects/registration.js';
import { RESTART_DEFECTS } from './defects/restart.js';

const DEFECTS = {
  ...REGISTRATION_DEFECTS,
  ...LISTING_DEFECTS,
  ...ALLOCATION_DEFECTS,
  ...PREFERENCE_DEFECTS,
  ...RESTART_DEFECTS,
  ...MANNERS_DEFECTS,
  ...HARDWARE_DEFECTS,
  ...COMPATIBILITY_DEFECTS,
};

const [name = ''] = process.argv.slice(2);
if (name === '--list') {
  const listed = Object.entries(DEFECTS).map(([defect, { Plugin: _, ...rest }]) => ({ name: defect, ...rest }));
  console.log(JSON.stringify({ good: Object.keys(GOOD_PLUGINS), defects: listed }));
} else {
  const Plugin = GOOD_PLUGINS[name] ?? DEFECTS[name]?.Plugin;
  if (Plugin === undefined) {
    console.error(`no such plugin: ${JSON.stringify(name)}; --list names all`);
    process.exit(64);
  }
  await new Plugin().run();
}

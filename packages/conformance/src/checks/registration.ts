import { checkResourceName } from '@devmgr/core';
import { startup, type Startup } from '../bench/startup.ts';
import type { Bench } from '../bench/bench.ts';
import { NotReady } from '../bench/bench-errors.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';
import { REGISTRATION_TROUBLE_CHECKS } from './registration-trouble.ts';

/** The first start, with at least one registration to judge. */
async function registered(bench: Bench): Promise<Startup> {
  const start = await bench.observe(startup);
  if (start.registrations.length === 0) throw new NotReady(start.problem ?? 'the plugin did not register');
  return start;
}

/** Longest path of a unix socket, in bytes, and where a kubelet has its plugins'. (Linux: unix(7)) */
const MAX_PATH_BYTES = 107;
const KUBELET_PLUGIN_DIR = '/var/lib/kubelet/device-plugins/';

export const REGISTRATION_CHECKS: readonly Check[] = [
  {
    id: 'registration/registers',
    level: 'quick',
    severity: 'error',
    title: 'The plugin registers with a manager that is there when it starts.',
    why: 'Without a Register call on kubelet.sock, or a socket in plugins_registry, a kubelet never hears of the plugin. (device plugin API: Registration)',
    remedy:
      'Call Register on /var/lib/kubelet/device-plugins/kubelet.sock once your own server listens. If the directory is a flag of your plugin, leave it at its default here.',
    async run(bench) {
      const { registrations, problem } = await bench.observe(startup);
      if (registrations.length === 0) {
        return bad(
          problem ?? 'the plugin did not register',
          bench.plugin?.log.last(12).filter((line) => line !== ''),
        );
      }
      return good(`registered ${[...new Set(registrations.map(({ resource }) => resource))].join(', ')}`);
    },
  },
  {
    id: 'registration/api-version',
    level: 'quick',
    severity: 'error',
    title: 'The plugin registers with API version v1beta1.',
    why: 'It is the only version a kubelet accepts, letter by letter; any other is refused. (kubelet: device plugin registration)',
    remedy: 'Send the constant v1beta1 as the version of RegisterRequest.',
    async run(bench) {
      const { registrations } = await registered(bench);
      return each(registrations, ({ resource, version }) =>
        version === 'v1beta1' ? undefined : `${resource}: version ${JSON.stringify(version)}`,
      ).outcome('version v1beta1', 'another API version than v1beta1');
    },
  },
  {
    id: 'registration/resource-name',
    level: 'quick',
    severity: 'error',
    title: 'Every resource name is an extended resource: a domain, a slash, a name.',
    why: 'A kubelet refuses other names, and names with kubernetes.io/ in them. (Kubernetes: IsExtendedResourceName)',
    remedy:
      'Call the resource like vendor.example/device: a lower-case domain of yours, one slash, up to 63 letters, digits, "-", "_" and ".".',
    async run(bench) {
      const { registrations } = await registered(bench);
      return each(registrations, ({ resource }) =>
        checkResourceName(resource).ok ? undefined : `resource name ${JSON.stringify(resource)}`,
      ).outcome('names of extended resources', 'a name that no extended resource can have');
    },
  },
  {
    id: 'registration/endpoint-is-file-name',
    level: 'quick',
    severity: 'error',
    title: 'The endpoint is the name of a socket in the plugin directory.',
    why: 'A kubelet joins it to its own directory; a path ends up somewhere else. (device plugin API: RegisterRequest.endpoint)',
    remedy: 'Send the bare file name of your socket, which lies beside kubelet.sock.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const called = registrations.filter(({ way }) => way === 'register');
      if (called.length === 0) return moot('the plugin is found in plugins_registry, where an endpoint is a path');
      return each(called, ({ resource, endpoint }) =>
        isFileName(endpoint) ? undefined : `${resource}: endpoint ${JSON.stringify(endpoint)}`,
      ).outcome('endpoints are file names', 'an endpoint that is no file name');
    },
  },
  {
    id: 'registration/serves-before-register',
    level: 'quick',
    severity: 'error',
    title: 'The plugin serves its socket before it calls Register.',
    why: 'A kubelet dials back inside the call: a plugin that serves only afterwards waits for the kubelet while the kubelet waits for it. (kubelet: RegisterPlugin, dial limit 10 s)',
    remedy: 'Listen and start serving first, then call Register.',
    async run(bench) {
      const { registrations } = await registered(bench);
      // What is no file name is the business of another check, and leads elsewhere here.
      const reachable = registrations.filter(({ way, endpoint }) => way === 'registry' || isFileName(endpoint));
      if (reachable.length === 0) return moot('no endpoint is the name of a socket');
      return each(reachable, ({ resource, endpoint, probe }) =>
        probe === 'grpc' || probe === undefined
          ? undefined
          : `${resource}: when Register came, ${endpoint} was ${PROBED[probe]}`,
      ).outcome('served before Register', 'nobody served the endpoint when Register came');
    },
  },
  {
    id: 'registration/options-answered',
    level: 'quick',
    severity: 'error',
    title: 'GetDevicePluginOptions is answered.',
    why: 'A kubelet asks it inside Register and refuses the plugin when it fails. (kubelet: device plugin manager, "failed to get device plugin options")',
    remedy: 'Implement GetDevicePluginOptions; an empty answer means that neither optional call is offered.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const failed = registrations.filter(
        ({ refused }) => refused?.startsWith('failed to get device plugin options') === true,
      );
      if (failed.length > 0) {
        return bad(
          'the options could not be read',
          failed.map(({ resource, refused }) => `${resource}: ${refused ?? ''}`),
        );
      }
      if (registrations.every(({ session }) => session === undefined)) return moot('no registration came that far');
      return good('the options were answered');
    },
  },
  {
    id: 'registration/options-agree',
    level: 'quick',
    severity: 'warning',
    title: 'The options sent with Register are those that GetDevicePluginOptions answers.',
    why: 'A kubelet ignores the former and goes by the latter: what is only in Register is never called. (kubelet: device plugin registration)',
    remedy: 'Answer GetDevicePluginOptions and fill RegisterRequest.options from one place.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const both = registrations.filter(({ options, session }) => options !== undefined && session !== undefined);
      if (both.length === 0) return moot('Register brought no options');
      return each(both, ({ resource, options, session }) =>
        options?.preStartRequired === session?.options.preStartRequired &&
        options?.getPreferredAllocationAvailable === session?.options.getPreferredAllocationAvailable
          ? undefined
          : `${resource}: Register ${optionsText(options)}, GetDevicePluginOptions ${optionsText(session?.options)}`,
      ).outcome('the same options in both', 'Register and GetDevicePluginOptions disagree');
    },
  },
  {
    id: 'registration/once',
    level: 'quick',
    severity: 'error',
    title: 'The plugin registers each resource once with a manager.',
    why: 'A kubelet of 1.37 answers a second Register on the same socket "already connected", drops the living connection from its books and refuses the path until it is restarted; older ones replace the first. (kubernetes#135437)',
    remedy:
      'Keep one registration going at a time, and none while the manager that accepted you is the one that is there.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const accepted = registrations.filter(({ refused }) => refused === undefined);
      return each([...new Set(accepted.map(({ resource }) => resource))], (resource) => {
        const times = accepted
          .filter((one) => one.resource === resource)
          .map(({ atMs }) => `${String(Math.round(atMs))} ms`);
        return times.length === 1 ? undefined : `${resource}: Register at ${times.join(', ')}`;
      }).outcome('registered once', 'a resource was registered again although the manager had accepted it');
    },
  },
  {
    id: 'registration/one-socket-a-resource',
    level: 'quick',
    severity: 'error',
    title: 'Every resource has a socket of its own.',
    why: 'The calls of the API do not name the resource: on a shared socket a plugin cannot tell which one is meant. (device plugin API: DevicePlugin)',
    remedy: 'Serve each resource on a socket of its own and register each under its own endpoint.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const byPath = new Map<string, Set<string>>();
      for (const { socketPath, resource } of registrations) {
        byPath.set(socketPath, (byPath.get(socketPath) ?? new Set<string>()).add(resource));
      }
      return each([...byPath], ([path, resources]) =>
        resources.size === 1 ? undefined : `${path}: ${[...resources].join(', ')}`,
      ).outcome('a socket a resource', 'two resources share a socket');
    },
  },
  {
    id: 'registration/socket-path-fits',
    level: 'quick',
    severity: 'error',
    title: 'The socket has a name that fits beside a kubelet.',
    why: 'A unix socket path has at most 107 bytes, and a kubelet dials it as /var/lib/kubelet/device-plugins/ and the endpoint. (Linux: unix(7))',
    remedy: 'Make the name of the socket shorter, or of a hash.',
    async run(bench) {
      const { registrations } = await registered(bench);
      const called = registrations.filter(({ way }) => way === 'register');
      if (called.length === 0) return moot('the plugin is found in plugins_registry');
      return each(called, ({ resource, endpoint }) => {
        const sizeBytes = Buffer.byteLength(KUBELET_PLUGIN_DIR + endpoint);
        return sizeBytes <= MAX_PATH_BYTES ? undefined : `${resource}: ${endpoint} makes ${String(sizeBytes)} bytes`;
      }).outcome('socket paths fit', 'a socket path is longer than a system allows');
    },
  },
  ...REGISTRATION_TROUBLE_CHECKS,
];

function isFileName(endpoint: string): boolean {
  return endpoint !== '' && !endpoint.includes('/') && endpoint !== '.' && endpoint !== '..';
}

const PROBED = {
  grpc: 'served',
  mute: 'a socket that did not answer while Register was under way',
  refused: 'a socket nobody listens on',
  missing: 'missing',
  'not-a-socket': 'no socket',
} as const;

function optionsText(
  options: { preStartRequired: boolean; getPreferredAllocationAvailable: boolean } | undefined,
): string {
  const offered = [
    ...(options?.preStartRequired === true ? ['PreStartContainer'] : []),
    ...(options?.getPreferredAllocationAvailable === true ? ['GetPreferredAllocation'] : []),
  ];
  return offered.length === 0 ? 'offers neither' : `offers ${offered.join(' and ')}`;
}

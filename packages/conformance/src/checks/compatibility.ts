import { RpcCode, RpcError, createClient, deviceplugin, rpcCodeName } from '@devmgr/wire';
import { allocatableAgain } from '../bench/allocations.ts';
import type { Bench } from '../bench/bench.ts';
import { NotReady } from '../bench/bench-errors.ts';
import type { PluginSession } from '../bench/plugin-session.ts';
import { startup } from '../bench/startup.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** What a kubelet may take to dial back, inside Register. (kubelet: device plugin client) */
const DIAL_BACK_MS = 10_000;
/** Field 1000 of any message, a number. (protobuf: encoding) */
const UNKNOWN_FIELD = Buffer.of(0xc0, 0x3e, 0x01);

const { allocate, getDevicePluginOptions } = deviceplugin.DevicePluginService;

/** As a manager of the future may send it. */
const FutureService = {
  allocate: {
    ...allocate,
    requestSerialize: (value: deviceplugin.AllocateRequest): Buffer =>
      Buffer.concat([allocate.requestSerialize(value), UNKNOWN_FIELD]),
  },
  unknownCall: { ...getDevicePluginOptions, path: '/v1beta1.DevicePlugin/DevmgrUnknownCall' },
} as const;

async function withFutureClient<T>(
  { socketPath }: PluginSession,
  use: (client: ReturnType<typeof createClient<typeof FutureService>>) => Promise<T>,
): Promise<T> {
  const client = createClient(FutureService, socketPath);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

export const COMPATIBILITY_CHECKS: readonly Check[] = [
  {
    id: 'compatibility/authority',
    level: 'quick',
    severity: 'warning',
    title: 'The plugin sends an :authority that every HTTP/2 server takes.',
    why: 'A file path as authority is no authority: grpc-go takes it, servers on nghttp2 (Node, and others) reset the call. (RFC 9113, 8.3.1; grpc-go before 1.57)',
    remedy: 'Dial "unix://" and the path with grpc-go 1.31 or newer, or set the authority to "localhost".',
    async run(bench) {
      const { registrations } = await bench.observe(startup);
      const called = registrations.filter(({ way }) => way === 'register');
      if (called.length === 0) return moot('the plugin does not call Register');
      return each(called, ({ authority }) =>
        authority !== undefined && /^[A-Za-z0-9._~%!$&'()*+,;=:@[\]-]+$/.test(authority)
          ? undefined
          : JSON.stringify(authority ?? ''),
      ).outcome(called[0]?.authority ?? '', 'an authority that some servers refuse');
    },
  },
  {
    id: 'compatibility/register-limit',
    level: 'quick',
    severity: 'warning',
    title: 'The plugin gives Register ten seconds, or no limit.',
    why: 'A kubelet may take ten seconds to dial back within the call; a plugin that gives up earlier is registered and does not know it. (kubelet: device plugin client)',
    remedy: 'Use a deadline of more than ten seconds for Register.',
    async run(bench) {
      const { registrations } = await bench.observe(startup);
      const called = registrations.filter(({ way }) => way === 'register');
      if (called.length === 0) return moot('the plugin does not call Register');
      return each(called, ({ resource, timeLimitMs }) =>
        // A little of it was spent on the way.
        timeLimitMs === undefined || timeLimitMs > DIAL_BACK_MS - 2_000
          ? undefined
          : `${resource}: ${(timeLimitMs / 1000).toFixed(1)} s`,
      ).outcome('time enough', 'Register has a limit shorter than a kubelet may take');
    },
  },
  {
    id: 'compatibility/options-again',
    level: 'quick',
    severity: 'error',
    title: 'GetDevicePluginOptions answers the same each time.',
    why: 'Every manager asks it when it connects, and goes by what it heard then. (kubelet: device plugin manager)',
    remedy: 'Answer from constants; to change options, register again.',
    async run(bench) {
      const changed: string[] = [];
      for (const session of await bench.ready()) {
        const { options } = session;
        const now = await session.readOptions();
        if (
          now.preStartRequired !== options.preStartRequired ||
          now.getPreferredAllocationAvailable !== options.getPreferredAllocationAvailable
        ) {
          changed.push(session.resource);
        }
      }
      return each(changed, (resource) => resource).outcome('the same again', 'other options the second time');
    },
  },
  {
    id: 'compatibility/unknown-fields',
    level: 'quick',
    severity: 'error',
    title: 'Fields that the plugin does not know do not disturb it.',
    why: 'Newer kubelets add fields to the messages of this API without a new version. (protobuf: unknown fields)',
    remedy: 'Decode with a protobuf library, which skips them.',
    async run(bench) {
      const failed: string[] = [];
      for (const session of await allocatableAgain(bench)) {
        const ids = session.healthyIds.slice(0, 1);
        try {
          await withFutureClient(session, (client) =>
            client.allocate({ containerRequests: [{ devicesIds: [...ids] }] }, { timeoutMs: bench.timeoutMs }),
          );
        } catch (error) {
          if (!(error instanceof RpcError)) throw error;
          await bench.settleAfter(error);
          failed.push(`${session.resource} ${ids.join(', ')}: ${error.message}`);
        }
      }
      return each(failed, (line) => line).outcome('they are skipped', 'a request with an unknown field was refused');
    },
  },
  {
    id: 'compatibility/unknown-call',
    level: 'full',
    severity: 'warning',
    stage: 'destructive',
    title: 'A call that the plugin does not know is answered with Unimplemented.',
    why: 'It is how a newer manager finds out what a plugin can do. (gRPC: status codes)',
    remedy: 'Leave unknown methods to your gRPC library.',
    async run(bench) {
      return unimplemented(bench, await bench.ready(), (session) =>
        withFutureClient(session, (client) => client.unknownCall({}, { timeoutMs: bench.timeoutMs })),
      );
    },
  },
  {
    id: 'compatibility/unoffered-preference',
    level: 'full',
    severity: 'warning',
    stage: 'destructive',
    title: 'GetPreferredAllocation is survived also where it is not offered.',
    why: 'No kubelet calls it then; tools that look around do, and a crash takes every device of the plugin with it.',
    remedy: 'Return an error with code Unimplemented, or an empty response; in Go never (nil, nil).',
    async run(bench) {
      const sessions = (await bench.ready()).filter(({ options }) => !options.getPreferredAllocationAvailable);
      if (sessions.length === 0) return moot('it is offered');
      return survives(bench, sessions, async (session) => {
        await session.prefer(session.healthyIds, [], 1);
      });
    },
  },
  {
    id: 'compatibility/unoffered-pre-start',
    level: 'full',
    severity: 'warning',
    stage: 'destructive',
    title: 'PreStartContainer is survived also where it is not asked for.',
    why: 'No kubelet calls it then; tools that look around do, and a crash takes every device of the plugin with it.',
    remedy: 'Return an error with code Unimplemented, or an empty response; in Go never (nil, nil).',
    async run(bench) {
      const sessions = (await bench.ready()).filter(({ options }) => !options.preStartRequired);
      if (sessions.length === 0) return moot('it is asked for');
      return survives(bench, sessions, (session) => session.preStart(session.healthyIds.slice(0, 1)));
    },
  },
];

/** Good when the plugin goes on answering after the call, whatever the call came to. */
async function survives(
  bench: Bench,
  sessions: readonly PluginSession[],
  call: (session: PluginSession) => Promise<void>,
): ReturnType<Check['run']> {
  for (const session of sessions) {
    try {
      await call(session);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      await bench.settleAfter(error);
    }
    await session.readOptions();
  }
  return good('it goes on answering');
}

async function unimplemented(
  bench: Bench,
  sessions: readonly PluginSession[],
  call: (session: PluginSession) => Promise<unknown>,
): ReturnType<Check['run']> {
  if (sessions.length === 0) throw new NotReady('there is no session');
  const others: string[] = [];
  for (const session of sessions) {
    try {
      await call(session);
      others.push(`${session.resource}: OK`);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      await bench.settleAfter(error);
      if (error.code !== RpcCode.Unimplemented) others.push(`${session.resource}: ${rpcCodeName(error.code)}`);
    }
  }
  return others.length === 0 ? good('Unimplemented') : bad('another answer than Unimplemented', others);
}

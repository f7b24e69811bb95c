import type { ProtocolPod, TopologySettings } from '../protocol.ts';

/**
 * How far the kubelet's choice among equal devices shows. `ids`: every choice is determined (plugins state a full
 * preference), so ids are compared. `counts`: devices of a resource are alike, steps name them by their role, and numbers
 * are compared.
 */
export type Mode = 'ids' | 'counts';

export interface ScenarioDevice {
  readonly id: string;
  readonly health: string;
  /** Left out: no topology at all. */
  readonly numa?: readonly number[];
}

/**
 * What a plugin answers to GetPreferredAllocation. `full`: a complete preference; `noisy`: complete, among ids that do not
 * exist, are not available, or come twice; `partial`, `empty`, `unknown`, `greedy` (all of them): the rest is the manager's
 * choice; `none`: not offered.
 */
export type Preference = 'full' | 'noisy' | 'partial' | 'empty' | 'unknown' | 'greedy' | 'none';

export interface ScenarioPlugin {
  readonly resource: string;
  readonly prefer: Preference;
  readonly preStart: boolean;
  /** Names the extras of the Allocate answer. */
  readonly extras: readonly ('mount' | 'device' | 'annotation' | 'cdi')[];
}

export type FailingCall = 'Allocate' | 'GetPreferredAllocation' | 'PreStartContainer';

export interface ScriptedFailure {
  readonly resource: string;
  readonly call: FailingCall;
  /** gRPC status code; null: an answer without containers. */
  readonly code: number | null;
}

export type Step =
  | { readonly do: 'plugin'; readonly resource: string; readonly devices: readonly ScenarioDevice[] }
  | { readonly do: 'list'; readonly resource: string; readonly devices: readonly ScenarioDevice[] }
  /** Counts mode: changes so many devices in that role. */
  | {
      readonly do: 'change';
      readonly resource: string;
      readonly how: 'break' | 'mend' | 'vanish' | 'return';
      /** Held by this pod; else free ones. */
      readonly uid?: string;
      readonly count: number;
    }
  | { readonly do: 'unplug'; readonly resource: string; readonly how: 'close' | 'kill' | 'end' }
  | { readonly do: 'admit'; readonly pod: ProtocolPod; readonly fail?: ScriptedFailure }
  /** Admits a pod again that was active before a restart; `more`: asking for one more of something than it did. */
  | { readonly do: 'readmit'; readonly uid: string; readonly more?: boolean }
  /** Registers what cannot be. */
  | { readonly do: 'register'; readonly resource: string; readonly version: string }
  /** A plugin in plugins_registry, and its end; the last but one step. */
  | {
      readonly do: 'watched';
      readonly name: string;
      readonly type: string;
      readonly versions: readonly string[];
      /** Names its own socket as the endpoint instead of none. */
      readonly explicit: boolean;
      /** gRPC status code of GetDevicePluginOptions; absent when that answers. */
      readonly failing?: number;
      /** Devices it lists. */
      readonly count: number;
    }
  | { readonly do: 'remove'; readonly uid: string }
  | { readonly do: 'gc' }
  | { readonly do: 'options'; readonly uid: string; readonly container: string; readonly fail?: ScriptedFailure }
  | { readonly do: 'status'; readonly uid: string }
  | { readonly do: 'sanitize'; readonly uid: string; readonly allocatable: Readonly<Record<string, number>> }
  | { readonly do: 'hints'; readonly pod: ProtocolPod; readonly scope: 'container' | 'pod' }
  /** All plugins lose their manager. `running`: pods whose containers the runtime still ran; `initDone`: but for init containers that had ended. */
  | {
      readonly do: 'restart';
      readonly ready: boolean;
      readonly running: readonly string[];
      readonly initDone: boolean;
    }
  | { readonly do: 'ready' }
  /** Starts, beside what runs, on a machine or with a policy that is refused. */
  | { readonly do: 'misconfigure'; readonly machine: TopologySettings }
  /** What is on disk, for the pods that are active. */
  | { readonly do: 'checkpoint' };

export interface Scenario {
  readonly seed: number;
  readonly mode: Mode;
  readonly machine: TopologySettings;
  readonly plugins: readonly ScenarioPlugin[];
  readonly steps: readonly Step[];
}

/** The verdict on a device plugin: a manager that knows what kubelets do, and checks of what plugins answer. */
export { CHECKS, selectChecks, selectFrom } from './catalogue.ts';
export type { Selection } from './catalogue.ts';
export { GROUPS, LEVELS, STAGES, groupOf } from './check.ts';
export type { Check, Group, Level, Outcome, Severity, Stage } from './check.ts';
export { testPlugin } from './test-plugin.ts';
export type { TestPluginOptions } from './test-plugin.ts';
export { runChecks } from './suite.ts';
export type { SuiteOptions } from './suite.ts';

// The bench.
export { Bench } from './bench/bench.ts';
export type { BenchOptions } from './bench/bench.ts';
export { hardwareCommand } from './bench/hardware-switch.ts';
export type { HardwareSwitch } from './bench/hardware-switch.ts';
export { findEngine } from './bench/container-engine.ts';
export { containerLauncher } from './bench/container-launcher.ts';
export type { ContainerOptions } from './bench/container-launcher.ts';
export { commandLauncher } from './bench/running-plugin.ts';
export type { PluginEnd, PluginLauncher, RunningPlugin } from './bench/running-plugin.ts';
export type { Traffic, TrafficMessage } from './bench/traffic.ts';

// Reports.
export { hasPassed } from './report/report.ts';
export type {
  CheckResult,
  ManagerDescription,
  PluginDescription,
  Report,
  ResourceDescription,
  Status,
  Summary,
} from './report/report.ts';
export { jsonReport } from './report/json-report.ts';
export { PLAIN, tableReport } from './report/table-report.ts';
export type { Paint } from './report/table-report.ts';
export { junitReport } from './report/junit-report.ts';
export { githubAnnotations, githubSummary } from './report/github-report.ts';
export { badgeJson, badgeSvg } from './report/badge.ts';

// Recordings.
export { Recorder } from './recording/recorder.ts';
export { readRecording } from './recording/read-recording.ts';
export type { Recording, RecordingHeader } from './recording/recording.ts';
export { replayPlugin } from './recording/replay-plugin.ts';
export type { ReplayEnd, ReplayOptions } from './recording/replay-plugin.ts';
export { replayManager } from './recording/replay-manager.ts';
export type { ManagerReplay, ManagerReplayOptions } from './recording/replay-manager.ts';
export type { Difference } from './recording/difference.ts';

// Managers.
export { MANAGER_CHECKS } from './manager/manager-catalogue.ts';
export { ManagerBench, findManager } from './manager/manager-bench.ts';
export type { ManagerBenchOptions, ManagerDirectories } from './manager/manager-bench.ts';
export { runManagerChecks } from './manager/run-manager-checks.ts';
export type { ManagerCheck, ManagerSuiteOptions } from './manager/run-manager-checks.ts';

// For test runners.
export { openManagerSuite, openPluginSuite } from './runner/open-suite.ts';
export type { OpenSuiteOptions, PluginSuiteOptions } from './runner/open-suite.ts';
export { CheckFailed } from './runner/test-suite.ts';
export type { SuiteTest, TestSuite } from './runner/test-suite.ts';
export { temporaryRoot } from './bench/temporary-root.ts';

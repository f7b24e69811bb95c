/** The verdict on a device plugin: a manager that knows what kubelets do, and checks of what plugins answer. */
export { CHECKS, selectChecks } from './catalogue.ts';
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
export { commandLauncher } from './bench/running-plugin.ts';
export type { PluginEnd, PluginLauncher, RunningPlugin } from './bench/running-plugin.ts';
export type { Traffic, TrafficMessage } from './bench/traffic.ts';

// Reports.
export { hasPassed } from './report/report.ts';
export type { CheckResult, PluginDescription, Report, ResourceDescription, Status, Summary } from './report/report.ts';
export { jsonReport } from './report/json-report.ts';
export { PLAIN, tableReport } from './report/table-report.ts';
export type { Paint } from './report/table-report.ts';
export { junitReport } from './report/junit-report.ts';
export { githubAnnotations, githubSummary } from './report/github-report.ts';
export { badgeJson, badgeSvg } from './report/badge.ts';

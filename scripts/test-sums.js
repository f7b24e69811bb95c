// Reads a JSON report, vitest's or plain {passed, failed, skipped}, and prints "PASSED FAILED SKIPPED". Fails when there
// is no report or it holds no test.
import { readFileSync } from 'node:fs';

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
if (report.testResults === undefined) {
  const { passed, failed, skipped } = report;
  if (!(passed + failed + skipped > 0)) throw new Error('the report holds no tests');
  console.log(passed, failed, skipped);
  process.exit(0);
}
// A test file that could not be loaded holds no tests and would otherwise not be counted.
const brokenFiles = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
const failed = report.numFailedTests + brokenFiles.length;
if (report.numTotalTests + brokenFiles.length === 0) throw new Error('the report holds no tests');
console.log(report.numPassedTests, failed, report.numPendingTests + (report.numTodoTests ?? 0));

import { ManagerDriver } from '../oracle/driver/manager-driver.ts';
import { sdkPluginSuite } from '../support/sdk-plugin-suite.ts';

sdkPluginSuite('devmgr', () => new ManagerDriver());

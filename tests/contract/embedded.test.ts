/** The contract suites, run on the embedded store. */
import { createEmbeddedHarness } from '../support/store-directory.js';
import { describeEventLog } from './event-log.contract.js';
import { describeLeases } from './lease.contract.js';
import { describeSessionStore } from './session-store.contract.js';

describeEventLog('embedded', createEmbeddedHarness);
describeSessionStore('embedded', createEmbeddedHarness);
describeLeases('embedded', createEmbeddedHarness);

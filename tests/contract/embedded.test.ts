/** The contract suites, run on the embedded store. */
import { createEmbeddedHarness } from '../support/store-directory.js';
import { describeAuditLog } from './audit-log.contract.js';
import { describeCallMemory } from './call-memory.contract.js';
import { describeEventLog } from './event-log.contract.js';
import { describeLeases } from './lease.contract.js';
import { describeSessionStore } from './session-store.contract.js';

describeEventLog('embedded', createEmbeddedHarness);
describeSessionStore('embedded', createEmbeddedHarness);
describeLeases('embedded', createEmbeddedHarness);
describeAuditLog('embedded', createEmbeddedHarness);
describeCallMemory('embedded', createEmbeddedHarness);

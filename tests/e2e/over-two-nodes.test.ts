/** What one server promises, two on one Redis promise (NODE-1): the same suites, every connection and request to the next node. */
process.env['MIDSTREAM_TEST_NODES'] ??= '2';

/** Those in which a turn, its watchers and its commands meet; the others on demand. */
const TELLING = ['cancel', 'turns', 'tools'];
const OTHERS = [
  'audit-trail',
  'commands',
  'direct-tools',
  'hostile-model',
  'injection',
  'members',
  'rest',
  'resume',
  'upstream-faults',
];
const suites = process.env['MIDSTREAM_TEST_LONG'] === '1' ? [...TELLING, ...OTHERS] : TELLING;

describe.each(suites)('%s', (suite) => {
  jest.requireActual(`./${suite}.test.ts`);
});

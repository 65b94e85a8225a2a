import { matches } from '../../server/core/patterns.js';
import {
  canApprove,
  canInspect,
  canUseModel,
  decide,
  maxTokensOf,
  OPEN_POLICY,
  type Policy,
  withoutInput,
} from '../../server/core/permissions.js';

const policy: Policy = {
  analyst: {
    tools: {
      allow: ['search_*', 'send_report'],
      ask: ['send_*'],
      deny: ['search_secret'],
      input: { search_filings: { region: 'EU' } },
    },
    models: ['claude-sonnet-*'],
    approve: [],
    max_tokens: 100,
  },
  sender: { tools: { allow: ['send_*'] }, models: ['*'], approve: ['send_*'], max_tokens: 200 },
};
const fits = (schema: Readonly<Record<string, unknown>>, input: unknown) =>
  (input as { region?: string }).region === schema['region'] ? undefined : 'region must be EU';
const effect = (roles: string[][], tool: string, input?: object) =>
  decide(policy, roles, tool, input as never, fits).effect;

describe('the decision', () => {
  it.each([
    ['what no role names is denied', [['analyst']], 'other', {}, 'deny'],
    ['a role that does not exist gives nothing', [['ghost']], 'search_web', {}, 'deny'],
    ['nobody at all gives nothing', [], 'search_web', {}, 'deny'],
    ['a pattern allows', [['analyst']], 'search_web', {}, 'allow'],
    ['deny beats allow', [['analyst']], 'search_secret', {}, 'deny'],
    ['within a role ask beats allow', [['analyst']], 'send_report', {}, 'ask'],
    ['between roles allow beats ask', [['analyst', 'sender']], 'send_report', {}, 'allow'],
    ['a deny in any role wins', [['sender', 'analyst']], 'search_secret', {}, 'deny'],
    ['an input beyond the constraint is denied', [['analyst']], 'search_filings', { region: 'US' }, 'deny'],
    ['an input within the constraint is allowed', [['analyst']], 'search_filings', { region: 'EU' }, 'allow'],
    ['without an input the offer is asked for', [['analyst']], 'search_filings', undefined, 'allow'],
    ['everybody who takes part must be allowed', [['sender'], ['ghost']], 'send_x', {}, 'deny'],
    ['what one must ask for, all ask for', [['sender'], ['analyst']], 'send_x', {}, 'ask'],
  ] as const)('[TOOL-1] %s', (_name, roles, tool, input, expected) => {
    expect(effect(roles as never, tool, input)).toBe(expected);
  });

  it('names the rule', () => {
    expect(decide(policy, [['analyst']], 'search_secret', {}, fits).rule).toBe('role analyst: deny search_secret');
  });

  it('limits models, approvals and tokens by role, the most generous wins', () => {
    expect(canUseModel(policy, ['analyst'], 'claude-opus-5')).toBe(false);
    expect(canUseModel(policy, ['analyst', 'sender'], 'claude-opus-5')).toBe(true);
    expect(canApprove(policy, ['analyst'], 'send_x')).toBe(false);
    expect(canApprove(policy, ['sender'], 'send_x')).toBe(true);
    expect(maxTokensOf(policy, ['analyst', 'sender'])).toBe(200);
  });
});

describe('patterns', () => {
  it.each([
    ['*', 'anything', true],
    ['a*', 'abc', true],
    ['a*', 'ba', false],
    ['*c', 'abc', true],
    ['a*c', 'ac', true],
    ['a*c', 'acb', false],
    ['a*b*c', 'aXbYc', true],
    ['a*bc*c', 'abc', false],
    ['a.c', 'abc', false],
    ['abc', 'abc', true],
    ['ab*ba', 'aba', false],
  ])('%s against %s is %s', (pattern, name, expected) => {
    expect(matches(pattern, name)).toBe(expected);
  });
});

describe('who may inspect', () => {
  it('is a role that says so, and no other', () => {
    const policy = { auditor: { tools: {}, inspect: true }, admin: { tools: { allow: ['*'] } } };
    expect(canInspect(policy, ['admin', 'auditor'])).toBe(true);
    expect(canInspect(policy, ['admin'])).toBe(false);
    expect(canInspect(policy, ['unheard_of'])).toBe(false);
    expect(canInspect(OPEN_POLICY, ['admin'])).toBe(true);
  });

  it('reads rules without what they say about an input', () => {
    expect(withoutInput('role a: input of search: input.secret must be 1', 'search')).toBe('role a: input of search');
    expect(withoutInput('role a: deny search', 'search')).toBe('role a: deny search');
  });
});

it.each(['constructor', '__proto__', 'toString'])(
  '[TOOL-1] a tool named %s has no constraint that nobody wrote',
  (name) => {
    const asked: unknown[] = [];
    const policy: Policy = { a: { tools: { allow: ['*'], input: { search: { type: 'object' } } } } };
    const decision = decide(policy, [['a']], name, {}, (schema) => {
      asked.push(schema);
      return 'does not fit';
    });
    expect([decision.effect, asked]).toEqual(['allow', []]);
  },
);

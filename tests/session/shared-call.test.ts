/** Who waits with others for one piece of work. */
import { SharedCall } from '../../server/session/shared-call.js';

interface Work {
  readonly shared: SharedCall<string>;
  readonly signal: AbortSignal;
  readonly end: (result: string) => void;
}

function start(): Work {
  let begun: Omit<Work, 'shared'> | undefined;
  const shared = new SharedCall<string>(
    (signal) =>
      new Promise((end) => {
        begun = { signal, end };
      }),
  );
  return { shared, ...(begun as Omit<Work, 'shared'>) };
}

it('work goes on as long as one of those who wait for it is there', async () => {
  const { shared, signal, end } = start();
  const [first, second] = [new AbortController(), new AbortController()];
  void shared.join(first.signal);
  const stays = shared.join(second.signal);
  first.abort();
  expect(signal.aborted).toBe(false);
  end('done');
  expect(await stays).toBe('done');
});

it('work is aborted when the last has gone, also where that one had gone before it came', () => {
  const { shared, signal } = start();
  const [first, second] = [new AbortController(), new AbortController()];
  void shared.join(first.signal);
  void shared.join(second.signal);
  first.abort();
  second.abort();
  expect(signal.aborted).toBe(true);
  const late = start();
  void late.shared.join(AbortSignal.abort());
  expect(late.signal.aborted).toBe(true);
});

it('who goes after the answer aborts nothing', async () => {
  const { shared, signal, end } = start();
  const gone = new AbortController();
  const answer = shared.join(gone.signal);
  end('done');
  await answer;
  gone.abort();
  expect(signal.aborted).toBe(false);
});

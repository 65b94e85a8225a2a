/** A load balancer that knows nothing: each new connection goes to the next port that accepts it. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface LoadBalancer {
  readonly port: number;
  close(): Promise<void>;
}

/** `portsOf` is asked for each connection: servers that were started again listen elsewhere. */
export async function startLoadBalancer(portsOf: () => readonly number[]): Promise<LoadBalancer> {
  const open = new Set<Socket>();
  let next = 0;

  const server: Server = createServer({ pauseOnConnect: true }, (near) => {
    keep(open, near);
    const ports = portsOf();
    const from = next++;
    const tries = ports.map((_, n) => ports[(from + n) % ports.length] as number);
    connectToAny(tries, (far) => {
      if (far === undefined || near.destroyed) {
        near.destroy();
        far?.destroy();
        return;
      }
      keep(open, far);
      join(near, far);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

function connectToAny([port, ...others]: readonly number[], done: (far: Socket | undefined) => void): void {
  if (port === undefined) {
    done(undefined);
    return;
  }
  const far = connect(port, '127.0.0.1');
  const onRefused = (): void => connectToAny(others, done);
  far.once('error', onRefused);
  far.once('connect', () => {
    far.off('error', onRefused);
    done(far);
  });
}

function keep(open: Set<Socket>, socket: Socket): void {
  open.add(socket);
  socket.on('error', () => undefined);
  socket.once('close', () => open.delete(socket));
}

/** An end goes through after what was sent before it; a reset takes the other side down at once. */
function join(near: Socket, far: Socket): void {
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.setNoDelay(true);
    from.pipe(to);
    from.once('close', (hadError) => (hadError ? to.destroy() : to.end()));
  }
  near.resume();
}

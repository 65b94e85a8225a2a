/** Whose request it is, by address: the nearest hop that is not one of our own proxies. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';

/** The address of a client, without a port. */
export type ReadClientAddress = (req: Pick<IncomingMessage, 'headers' | 'socket'>) => string;

/** Whether an address is that of one of our own proxies: `trusted` are addresses and networks. */
export function createIsProxy(trusted: readonly string[]): (address: string) => boolean {
  const proxies = new BlockList();
  for (const network of trusted) {
    const [address = '', bits] = network.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) proxies.addAddress(address, family);
    else proxies.addSubnet(address, Number(bits), family);
  }
  return (address) => proxies.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** `trusted`: addresses and networks of the proxies whose `X-Forwarded-For` counts. */
export function createClientAddress(trusted: readonly string[]): ReadClientAddress {
  const isTrusted = createIsProxy(trusted);
  return ({ headers, socket }) => {
    let address = toClientAddress(socket);
    if (trusted.length === 0) return address;
    // Each proxy adds whom it talks to at the right; what stands left of the last trusted one, anybody may have written.
    const hops = [headers['x-forwarded-for'] ?? ''].flat().join(',').split(',');
    while (isTrusted(address)) {
      const before = toAddress(hops.pop()?.trim() ?? '');
      if (before === undefined) break;
      address = before;
    }
    return address;
  };
}

/** The address at the other end of a connection. */
export const toClientAddress = ({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string =>
  toAddress(remoteAddress ?? '') ?? 'unknown';

/** Plain, whatever a proxy made of it: `[::1]:80`, `1.2.3.4:80`, `::ffff:1.2.3.4`; undefined where it is no address. */
function toAddress(text: string): string | undefined {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
  const address = bare.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
  return isIP(address) === 0 ? undefined : address.toLowerCase();
}

/** What one client can be expected to have: one IPv4 address, or a whole /64 of IPv6. */
export function toClientKey(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  // An IPv4 address at the end stands for two groups.
  const count = groups.length + after.length + (address.includes('.') ? 1 : 0);
  const all = tail === undefined ? groups : [...groups, ...Array<string>(8 - count).fill('0'), ...after];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

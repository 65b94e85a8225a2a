/** Leases, with how many change hands. */
import type { Lease, Leases } from '../../ports/lease.js';
import type { Metrics } from '../../ports/metrics.js';

export function measureLeases(leases: Leases, metrics: Metrics): Leases {
  leases.onLost?.(() => metrics.leaseChanged('lost'));
  return {
    async claim(sessionId) {
      let lease: Lease | undefined;
      try {
        lease = await leases.claim(sessionId);
      } catch (error) {
        metrics.leaseChanged('failed');
        throw error;
      }
      metrics.leaseChanged(lease ? 'claimed' : 'refused');
      if (lease?.isEpochNew) metrics.epochBegan();
      return lease;
    },
    async release(sessionId, lease) {
      await leases.release(sessionId, lease);
      metrics.leaseChanged('released');
    },
    ...(leases.orphans && { orphans: () => leases.orphans?.() ?? Promise.resolve([]) }),
    ...(leases.onOrphan && { onOrphan: (listener: (sessionId: string) => void) => leases.onOrphan?.(listener) }),
    ...(leases.onLost && { onLost: (listener: (sessionId: string) => void) => leases.onLost?.(listener) }),
  };
}

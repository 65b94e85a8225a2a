/** How many bytes went over all connections of a server: the kernel's sockets count them, this adds them up. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface TrafficMeter {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export function createTrafficMeter(server: Server): TrafficMeter {
  const open = new Set<Socket>();
  const ofClosed = { bytesWritten: 0, bytesRead: 0 };
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      ofClosed.bytesWritten += socket.bytesWritten;
      ofClosed.bytesRead += socket.bytesRead;
    });
  });
  const sum = (counter: 'bytesWritten' | 'bytesRead'): number => {
    let bytes = ofClosed[counter];
    for (const socket of open) bytes += socket[counter];
    return bytes;
  };
  return {
    get sentBytes() {
      return sum('bytesWritten');
    },
    get receivedBytes() {
      return sum('bytesRead');
    },
  };
}

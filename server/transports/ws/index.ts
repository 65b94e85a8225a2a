/** The WebSocket transport. */
export { createWsTransport, type WsTransport, type WsTransportDeps } from './ws-transport.js';

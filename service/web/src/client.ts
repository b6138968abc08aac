/**
 * The client library as one module: all that a program needs to talk to Parley. It knows neither React nor a page, needs
 * nothing but a `WebSocket`, `fetch`, timers and `crypto`, and has no dependencies.
 */
export { CLOSE_CODES, type CloseCode, closeCode } from "./closeCodes.ts";
export { Connection, type ConnectionOptions, newKey, QuestionFailed } from "./connection.ts";
export type { ConnectionEvent, Failure, Listener, Progress, Status, Target } from "./events.ts";
export type { SocketLike } from "./link.ts";
export { probe, type ProbeAnswer } from "./probe.ts";
export {
  type ClientFrame,
  decode,
  type Direct,
  encode,
  INBOX,
  type Json,
  type Limits,
  type Logged,
  type Message,
  type Position,
  type ServerFrame,
  UnreadableFrame,
  type Welcome,
} from "./protocol.ts";

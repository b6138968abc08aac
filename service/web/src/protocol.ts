/**
 * The frames of the Parley protocol, version 1: their types, and the strict reading of what a server sends. It knows no
 * socket and keeps no state; `service/PROTOCOL.md` says what the frames mean.
 */

/** Any value that JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Repeated by the reply to a frame. */
export type FrameId = string | number;

/** A place in the log of a room. Offsets of different epochs have nothing to do with each other. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** The room that stands for one's own direct messages. */
export const INBOX = "@me";

/** What a client may send. */
export type ClientFrame =
  | { type: "auth"; id?: FrameId; token: string }
  | { type: "join"; id?: FrameId; room: string; since?: Position; history?: number }
  | { type: "leave"; id?: FrameId; room: string }
  | ({ type: "chat"; id?: FrameId; msg: Json; key?: string; traceparent?: string } & Destination)
  | ({ type: "signal"; id?: FrameId; data: Json } & Destination)
  | { type: "history"; id?: FrameId; room: string; before?: number; after?: number; limit?: number }
  | { type: "presence"; id?: FrameId; room: string }
  | { type: "rooms"; id?: FrameId }
  | { type: "ping"; id?: FrameId };

/** A room, a user, or neither: then it is the only room that was joined. */
export type Destination = { room: string; to?: never } | { to: string; room?: never } | { room?: never; to?: never };

/** Told in `welcome`; bytes, seconds and counts as the names say. A server may add others. */
export interface Limits {
  readonly message_bytes: number;
  readonly frame_bytes: number;
  readonly rooms: number;
  readonly messages_per_second: number;
  readonly messages_burst: number;
  readonly replay_messages: number;
  readonly ping_seconds: number;
  readonly history_messages: number;
  readonly name_bytes: number;
  readonly key_bytes: number;
}

/** The first frame of a session. */
export interface Welcome {
  readonly type: "welcome";
  readonly server_id: string;
  readonly session: string;
  readonly user: string;
  readonly protocol: number;
  readonly limits: Limits;
  /** Seconds; absent where sign-in never ends. */
  readonly expires_in?: number;
  /** The cookie to drop when `reconnect` says `elsewhere`. */
  readonly affinity_cookie?: string;
}

/** A message of a room. `at` is milliseconds since 1970 by the clock of the instance that took it. */
export interface Message {
  readonly type: "message";
  readonly room: string;
  readonly offset: number;
  readonly from: string;
  readonly msg: Json;
  readonly key?: string;
  readonly at: number;
}

/** A direct message in one's own inbox. */
export interface Direct {
  readonly type: "direct";
  readonly room: typeof INBOX;
  readonly offset: number;
  readonly from: string;
  readonly to: string;
  readonly msg: Json;
  readonly key?: string;
  readonly at: number;
}

/** What a log holds. */
export type Logged = Message | Direct;

export interface Joined {
  readonly type: "joined";
  readonly id?: FrameId;
  readonly room: string;
  readonly epoch: string;
  readonly offset: number;
  readonly recovered: boolean;
  readonly more: boolean;
  readonly messages: readonly Logged[];
}

export interface Ack {
  readonly type: "ack";
  readonly id?: FrameId;
  readonly room: string;
  readonly epoch: string;
  readonly offset: number;
  readonly at: number;
}

export interface HistoryPage {
  readonly type: "history";
  readonly id?: FrameId;
  readonly room: string;
  readonly epoch: string;
  readonly messages: readonly Logged[];
  readonly more: boolean;
}

export interface PresenceList {
  readonly type: "presence";
  readonly id?: FrameId;
  readonly room: string;
  readonly users: readonly string[];
  readonly count: number;
}

export interface PresenceEvent {
  readonly type: "presence";
  readonly room: string;
  readonly event: "join" | "leave";
  readonly user: string;
}

export interface Signal {
  readonly type: "signal";
  readonly room: string;
  readonly from: string;
  readonly data: Json;
}

export interface RoomsList {
  readonly type: "rooms";
  readonly id?: FrameId;
  readonly rooms: readonly { readonly room: string; readonly offset: number }[];
  readonly more: boolean;
}

export interface Gap {
  readonly type: "gap";
  readonly room: string;
  readonly epoch: string;
  readonly offset: number;
}

export interface Reconnect {
  readonly type: "reconnect";
  readonly reason: string;
  readonly after_ms: number;
  readonly elsewhere: boolean;
}

export interface Fault {
  readonly type: "error";
  readonly id?: FrameId;
  /** For programs; a word that is not known means "not done, do not repeat". */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly retry_after_ms?: number;
  readonly key?: string;
}

export interface Left {
  readonly type: "left";
  readonly id?: FrameId;
  readonly room: string;
  /** There when it was not asked for. */
  readonly reason?: string;
}

export interface Ok {
  readonly type: "ok";
  readonly id?: FrameId;
  readonly expires_in?: number;
}

export interface Pong {
  readonly type: "pong";
  readonly id?: FrameId;
}

/** What a server may send. */
export type ServerFrame =
  | Welcome
  | Ok
  | Joined
  | Left
  | Ack
  | Message
  | Direct
  | Signal
  | HistoryPage
  | PresenceList
  | PresenceEvent
  | RoomsList
  | Gap
  | Reconnect
  | Fault
  | Pong;

/** A frame that is not what the protocol promises: the fault of the server, or of something between. */
export class UnreadableFrame extends Error {
  override readonly name = "UnreadableFrame";
}

/** Writes a frame. A `msg` with a lone surrogate is refused by servers: see `String.prototype.toWellFormed`. */
export function encode(frame: ClientFrame): string {
  return JSON.stringify(frame);
}

const encoder = new TextEncoder();

/** Bytes of a text in UTF-8, which is what the server's limits count. */
export function bytes(text: string): number {
  return encoder.encode(text).length;
}

/**
 * Reads a frame. Fields that are not known stay where they are; a type that is not known gives `undefined`, for it may
 * come with a later version.
 *
 * @throws UnreadableFrame when it is no JSON object, or a field that is promised is missing or of another type.
 */
export function decode(text: string): ServerFrame | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UnreadableFrame("not JSON");
  }
  if (!isObject(value) || typeof value["type"] !== "string") throw new UnreadableFrame("no object with a `type`");
  if (!Object.hasOwn(shapes, value["type"])) return undefined;
  shapes[value["type"]]?.(value);
  return value as unknown as ServerFrame;
}

type Fields = Record<string, unknown>;
type Check = (fields: Fields) => void;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const kinds = {
  text: (value: unknown) => typeof value === "string",
  count: (value: unknown) => typeof value === "number" && Number.isInteger(value) && value >= 0,
  flag: (value: unknown) => typeof value === "boolean",
  id: (value: unknown) => typeof value === "string" || typeof value === "number",
  object: isObject,
  list: Array.isArray,
  texts: (value: unknown) => Array.isArray(value) && value.every((entry) => typeof entry === "string"),
  /** JSON has no `undefined`, so every value that is there will do. */
  json: (value: unknown) => value !== undefined,
};
type Kind = keyof typeof kinds;

/** A check of fields; a `?` behind the kind lets the field be absent. */
function shape(fields: Record<string, Kind | `${Kind}?`>, more?: Check): Check {
  const rows = Object.entries(fields).map(([name, kind]) => {
    const optional = kind.endsWith("?");
    return { name, optional, is: kinds[(optional ? kind.slice(0, -1) : kind) as Kind], kind };
  });
  return (value) => {
    for (const { name, optional, is, kind } of rows) {
      const field = value[name];
      if (!(optional && field === undefined) && !is(field)) {
        throw new UnreadableFrame(`\`${name}\` of \`${String(value["type"])}\` is not ${kind}`);
      }
    }
    more?.(value);
  };
}

const message = shape({ room: "text", offset: "count", from: "text", msg: "json", key: "text?", at: "count" });
const direct = shape({ room: "text", offset: "count", from: "text", to: "text", msg: "json", key: "text?", at: "count" });

const logged: Check = (value) => {
  for (const entry of value["messages"] as unknown[]) {
    if (!isObject(entry)) throw new UnreadableFrame("a message is no object");
    if (entry["type"] === "message") message(entry);
    else if (entry["type"] === "direct") direct(entry);
    else throw new UnreadableFrame("a message has another type");
  }
};

const limits = shape({
  message_bytes: "count",
  frame_bytes: "count",
  rooms: "count",
  messages_per_second: "count",
  messages_burst: "count",
  replay_messages: "count",
  ping_seconds: "count",
  history_messages: "count",
  name_bytes: "count",
  key_bytes: "count",
});
const presenceList = shape({ id: "id?", room: "text", users: "texts", count: "count" });
const presenceEvent = shape({ room: "text", event: "text", user: "text" });
const roomTop = shape({ room: "text", offset: "count" });

const shapes: Record<string, Check | undefined> = {
  welcome: shape(
    {
      server_id: "text",
      session: "text",
      user: "text",
      protocol: "count",
      limits: "object",
      expires_in: "count?",
      affinity_cookie: "text?",
    },
    (value) => limits(value["limits"] as Fields),
  ),
  ok: shape({ id: "id?", expires_in: "count?" }),
  joined: shape(
    { id: "id?", room: "text", epoch: "text", offset: "count", recovered: "flag", more: "flag", messages: "list" },
    logged,
  ),
  left: shape({ id: "id?", room: "text", reason: "text?" }),
  ack: shape({ id: "id?", room: "text", epoch: "text", offset: "count", at: "count" }),
  message,
  direct,
  signal: shape({ room: "text", from: "text", data: "json" }),
  history: shape({ id: "id?", room: "text", epoch: "text", messages: "list", more: "flag" }, logged),
  presence: (value) => ("event" in value ? presenceEvent : presenceList)(value),
  rooms: shape({ id: "id?", rooms: "list", more: "flag" }, (value) => {
    for (const entry of value["rooms"] as unknown[]) {
      if (!isObject(entry)) throw new UnreadableFrame("a room is no object");
      roomTop(entry);
    }
  }),
  gap: shape({ room: "text", epoch: "text", offset: "count" }),
  reconnect: shape({ reason: "text", after_ms: "count", elsewhere: "flag" }),
  error: shape({ id: "id?", code: "text", message: "text", retry_after_ms: "count?", key: "text?" }),
  pong: shape({ id: "id?" }),
};

/**
 * What one conversation shows, as a pure function of what happened: its messages, one's own that are on their way, and the
 * marks where something may be missing. It knows no connection and no React.
 */
import type { Progress } from "./events.ts";
import type { Json, Logged, Position } from "./protocol.ts";

/** A line that is in the log. */
export interface MessageEntry {
  readonly kind: "message";
  /** Stays the same from the first sight of the message on, also when one's own is confirmed. */
  readonly uid: string;
  readonly offset: number;
  readonly from: string;
  readonly msg: Json;
  readonly key: string | undefined;
  readonly at: number;
}

/** A place where messages may be missing. */
export interface GapEntry {
  readonly kind: "gap";
  readonly uid: string;
  /** Whether the log goes on behind the mark from what is before it; absent until enough of it was read to know. */
  readonly log?: "same" | "another";
}

export type Entry = MessageEntry | GapEntry;

/** A message of one's own that has not been seen in the log yet. */
export interface Pending {
  readonly kind: "pending";
  readonly uid: string;
  readonly key: string;
  readonly from: string;
  readonly msg: Json;
  readonly at: number;
  readonly progress: Progress;
}

/** What the beginning of the list is: are there older messages? */
export type Older = "unknown" | "more" | "loading" | "failed" | "end";

export interface RoomState {
  /** A room's name, or `@` and a user's: names of rooms never begin so. */
  readonly id: string;
  readonly phase: "joining" | "live" | "left" | "refused";
  /** Why it was left or refused. */
  readonly why: string;
  readonly entries: readonly Entry[];
  readonly pending: readonly Pending[];
  readonly position: Position | undefined;
  readonly older: Older;
  /** Rises with every gap: offsets of different ones have nothing to do with each other. */
  readonly segment: number;
  /** Messages of others that came while nobody looked. */
  readonly unread: number;
  /** The first of them; stays until the conversation is opened the next time. */
  readonly firstUnread: string | undefined;
}

export type RoomAction =
  | { readonly type: "joined"; readonly position: Position; readonly messages: readonly Logged[]; readonly first: boolean; readonly live: boolean; readonly readUpTo?: Position }
  | { readonly type: "message"; readonly message: Logged }
  | { readonly type: "gap"; readonly position: Position }
  | { readonly type: "epoch"; readonly position: Position }
  /** What is left of the log below a gap: all of it from the first of these messages on. */
  | { readonly type: "filled"; readonly messages: readonly Logged[] }
  /** No more will come to fill the gaps: this is what was learned of the log. */
  | { readonly type: "filledUp"; readonly same: boolean; readonly older: "more" | "end" }
  | { readonly type: "loading" }
  | { readonly type: "page"; readonly messages: readonly Logged[]; readonly more: boolean }
  | { readonly type: "pageFailed" }
  | { readonly type: "publish"; readonly key: string; readonly msg: Json; readonly progress: Progress; readonly at: number }
  | { readonly type: "discard"; readonly key: string }
  | { readonly type: "opened" }
  | { readonly type: "left"; readonly why: string }
  | { readonly type: "refused"; readonly why: string }
  | { readonly type: "rejoin" };

/** Who looks, for counting what is unread. */
export interface Reader {
  readonly me: string;
  /** Whether the conversation is open in a page that is visible. */
  readonly reading: boolean;
}

export function emptyRoom(id: string): RoomState {
  return {
    id,
    phase: "joining",
    why: "",
    entries: [],
    pending: [],
    position: undefined,
    older: "unknown",
    segment: 0,
    unread: 0,
    firstUnread: undefined,
  };
}

/** The state after an action. What does not change keeps its identity. */
export function roomReducer(state: RoomState, action: RoomAction, reader: Reader): RoomState {
  switch (action.type) {
    case "joined":
      return joined(state, action, reader);
    case "message":
      return append(state, [action.message], reader);
    case "gap":
      return gap(state, action.position);
    case "epoch":
      return { ...state, position: action.position };
    case "filled":
      return filled(state, action.messages);
    case "filledUp":
      return filledUp(state, action.same, action.older);
    case "loading":
      return { ...state, older: "loading" };
    case "page":
      return page(state, action.messages, action.more);
    case "pageFailed":
      return state.older === "loading" ? { ...state, older: "failed" } : state;
    case "publish":
      return published(state, action, reader);
    case "discard":
      return { ...state, pending: state.pending.filter(({ key }) => key !== action.key) };
    case "opened":
      return state.unread === 0 ? { ...state, firstUnread: undefined } : { ...state, unread: 0 };
    case "left":
    case "refused":
      return { ...state, phase: action.type, why: action.why };
    case "rejoin":
      return { ...emptyRoom(state.id), pending: state.pending };
  }
}

type JoinedAction = Extract<RoomAction, { type: "joined" }>;

function joined(state: RoomState, action: JoinedAction, reader: Reader): RoomState {
  const phase = action.live ? ("live" as const) : state.phase;
  if (!action.first) {
    return { ...append(state, action.messages, reader), phase, position: action.position };
  }
  const entries = action.messages.map((message) => entry(state, message));
  const older = (action.messages[0]?.offset ?? action.position.offset + 1) > 1 ? "more" : "end";
  const started = withoutSeen({ ...state, phase, position: action.position, entries, older }, action.messages);
  const { readUpTo } = action;
  if (readUpTo === undefined || readUpTo.epoch !== action.position.epoch || reader.reading) return started;
  const fresh = entries.filter((one) => one.offset > readUpTo.offset && one.from !== reader.me);
  // What lies before the messages that came along can only be counted by its offsets; and in an inbox not even by them, for
  // it holds the messages of all people.
  const skipped = (entries[0]?.offset ?? action.position.offset + 1) - readUpTo.offset - 1;
  const unread = fresh.length + (state.id.startsWith("@") ? 0 : Math.max(skipped, 0));
  return { ...started, unread, firstUnread: unread > 0 ? fresh[0]?.uid : undefined };
}

/** The line of a message. It takes over the identity of the pending one that it confirms. */
function entry(state: RoomState, message: Logged): MessageEntry {
  const { offset, from, msg, key, at } = message;
  const mine = key !== undefined && state.pending.some((pending) => pending.key === key && pending.from === from);
  const uid = mine ? `k${key}` : `${state.segment}.${offset}`;
  return { kind: "message", uid, offset, from, msg, key, at };
}

function withoutSeen(state: RoomState, messages: readonly Logged[]): RoomState {
  if (state.pending.length === 0) return state;
  const keys = new Set(messages.filter(({ key }) => key !== undefined).map(({ key, from }) => `${key} ${from}`));
  const pending = state.pending.filter(({ key, from }) => !keys.has(`${key} ${from}`));
  return pending.length === state.pending.length ? state : { ...state, pending };
}

/** So many lines are kept, and so many go at once when there are more: they can be loaded again. */
const MOST_KEPT = 20_000;
const DROPPED = 5_000;

/** Lets the oldest lines of a long day go. */
function trimmed(state: RoomState): RoomState {
  if (state.entries.length <= MOST_KEPT) return state;
  const entries = state.entries.slice(DROPPED);
  // Before a gap there may be another log, which cannot be asked for any more.
  const older = entries.some((one) => one.kind === "gap" && one.log !== "same") ? state.older : "more";
  return { ...state, entries, older };
}

function append(state: RoomState, messages: readonly Logged[], reader: Reader): RoomState {
  if (messages.length === 0) return state;
  const entries = messages.map((message) => entry(state, message));
  const last = messages.at(-1) as Logged;
  const position = state.position && { epoch: state.position.epoch, offset: last.offset };
  const grown = trimmed(withoutSeen({ ...state, entries: [...state.entries, ...entries], position }, messages));
  const news = reader.reading ? [] : entries.filter(({ from }) => from !== reader.me);
  if (news.length === 0) return grown;
  const firstUnread = state.unread === 0 ? news[0]?.uid : state.firstUnread;
  return { ...grown, unread: state.unread + news.length, firstUnread };
}

function gap(state: RoomState, position: Position): RoomState {
  const segment = state.segment + 1;
  const mark: GapEntry = { kind: "gap", uid: `gap${segment}` };
  // Whether the log still has what is before the first line is known once the gap is filled.
  const older = state.older === "end" && firstOffset(state) !== undefined ? "end" : "unknown";
  return { ...state, position, segment, entries: [...state.entries, mark], older };
}

/** The offset of the oldest message that is shown. */
export function firstOffset({ entries }: RoomState): number | undefined {
  return entries.find((one) => one.kind === "message")?.offset;
}

/** The offset behind the messages that older pages bring. */
export function beginning(room: RoomState): number {
  return firstOffset(room) ?? (room.position?.offset ?? 0) + 1;
}

/** The same message has the same identity in every epoch. */
export function identity({ at, from, key, msg }: Logged | MessageEntry): string {
  return `${at} ${from} ${key ?? JSON.stringify(msg)}`;
}

/**
 * What is shown before the gaps: whether anything is, and those messages after which the log has to go on for all of it to be
 * of the same log.
 */
export function beforeGap({ entries }: RoomState): { readonly anything: boolean; readonly known: ReadonlySet<string> } {
  const first = entries.findIndex(({ kind }) => kind === "message");
  const anything = first >= 0 && first < entries.findLastIndex(({ kind }) => kind === "gap");
  const mark = entries.findIndex((one, at) => at > first && one.kind === "gap" && one.log === undefined);
  const lines = anything && mark >= 0 ? entries.slice(0, mark) : [];
  return { anything, known: new Set(lines.filter((one) => one.kind === "message").map(identity)) };
}

/** Puts what is not shown yet in its place: in front of what follows it in the log, and so behind a mark. */
function filled(state: RoomState, messages: readonly Logged[]): RoomState {
  const known = new Map<string, number>();
  for (const [at, one] of state.entries.entries()) if (one.kind === "message") known.set(identity(one), at);
  let place = state.entries.findLastIndex(({ kind }) => kind === "gap") + 1;
  const found = new Map<number, MessageEntry[]>();
  for (const message of messages.toReversed()) {
    const at = known.get(identity(message));
    if (at !== undefined) place = Math.min(place, at);
    else found.set(place, [entry(state, message), ...(found.get(place) ?? [])]);
  }
  if (found.size === 0) return state;
  const entries: Entry[] = [];
  for (let at = 0; at <= state.entries.length; at++) entries.push(...(found.get(at) ?? []), ...state.entries.slice(at, at + 1));
  return withoutSeen({ ...state, entries }, messages);
}

function filledUp(state: RoomState, same: boolean, older: "more" | "end"): RoomState {
  const log = same ? "same" : "another";
  const entries = state.entries.map((one) => (one.kind === "gap" && one.log === undefined ? { ...one, log } as const : one));
  return { ...state, entries, older: state.older === "unknown" ? older : state.older };
}

function page(state: RoomState, messages: readonly Logged[], more: boolean): RoomState {
  const below = firstOffset(state) ?? Number.POSITIVE_INFINITY;
  const entries = messages.filter(({ offset }) => offset < below).map((message) => ({
    ...entry(state, message),
    // Pages belong to the oldest segment, whatever has happened since.
    uid: `p${message.offset}`,
  }));
  const older = more ? "more" : "end";
  if (entries.length === 0) return { ...state, older };
  return withoutSeen({ ...state, entries: [...entries, ...state.entries], older }, messages);
}

type PublishAction = Extract<RoomAction, { type: "publish" }>;

function published(state: RoomState, action: PublishAction, reader: Reader): RoomState {
  const { key, msg, progress, at } = action;
  const index = state.pending.findIndex((pending) => pending.key === key);
  if (index >= 0) {
    const pending = state.pending.map((one, at) => (at === index ? { ...one, progress } : one));
    return { ...state, pending };
  }
  // Confirmed by its own echo before the ack came.
  if (progress.state === "sent") return state;
  const one: Pending = { kind: "pending", uid: `k${key}`, key, from: reader.me, msg, at, progress };
  return { ...state, pending: [...state.pending, one] };
}

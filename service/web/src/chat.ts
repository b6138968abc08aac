/**
 * Everything that the page shows, kept up to date from a connection's events: conversations, who is there, who types, and
 * what to say about the connection itself. It draws nothing.
 */
import type { Connection } from "./connection.ts";
import type { ConnectionEvent, Status } from "./events.ts";
import { Filling } from "./filling.ts";
import { byPeer, Inbox, peerOf } from "./inbox.ts";
import { Leftovers } from "./leftovers.ts";
import type { Memory } from "./memory.ts";
import { leftBecause } from "./names.ts";
import { type Note, Notes } from "./notes.ts";
import { Notifier } from "./notifier.ts";
import { type HistoryPage, INBOX, type Json, type Logged, type Position, type Welcome } from "./protocol.ts";
import { beforeGap, beginning, emptyRoom, firstOffset, identity, type RoomAction, roomReducer, type RoomState } from "./room.ts";
import { idOf, logOf, targetOf } from "./target.ts";
import { Typists } from "./typists.ts";

export interface ChatState {
  readonly status: Status;
  /** Of the session that is, or of the last one. */
  readonly welcome: Welcome | undefined;
  /** By id, in the order in which they were opened. */
  readonly conversations: ReadonlyMap<string, RoomState>;
  readonly open: string | undefined;
  /** Rooms that exist and may be joined. */
  readonly available: readonly string[];
  /** By room; a room that was never asked about is absent. */
  readonly present: ReadonlyMap<string, { readonly users: readonly string[]; readonly count: number }>;
  /** By conversation. */
  readonly typing: ReadonlyMap<string, readonly string[]>;
  readonly note: Note | undefined;
}

export interface ChatOptions {
  readonly connection: Connection;
  readonly memory: Memory;
  /** Joined on the very first visit. */
  readonly firstRoom?: string;
  /** Runs a function soon: once for everything that happened until then. */
  readonly schedule?: (run: () => void) => void;
}

/** How many messages come with a room. */
export const PAGE = 60;
/** A step back in time brings twice as many as are there, and so many at most: few steps for one who goes far. */
const MOST_OLDER = 480;
/** Direct messages that come at the beginning, of all people together. */
const INBOX_PAGE = 300;
/** How often to ask again who is there, in milliseconds: what is told in between are hints. */
const PRESENCE_EVERY = 30_000;

export class Chat {
  /** Tells when the state has changed; the result ends that. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly #connection: Connection;
  readonly #memory: Memory;
  readonly #notifier: Notifier;
  readonly #firstRoom: string;
  readonly #inbox = new Inbox();
  readonly #filling: Filling;
  readonly #typists: Typists;
  readonly #stops: (() => void)[] = [];
  readonly #notes: Notes;
  readonly #leftovers: Leftovers;
  #state: ChatState;
  #visible = true;
  #wasOnline = false;

  constructor({ connection, memory, firstRoom = "general", schedule = queueMicrotask }: ChatOptions) {
    this.#connection = connection;
    this.#memory = memory;
    this.#notifier = new Notifier(schedule);
    this.subscribe = this.#notifier.subscribe;
    this.#firstRoom = firstRoom;
    this.#state = {
      status: connection.status,
      welcome: undefined,
      conversations: new Map(),
      open: undefined,
      available: [],
      present: new Map(),
      typing: new Map(),
      note: undefined,
    };
    this.#notes = new Notes((note) => this.#set({ note }));
    this.#leftovers = new Leftovers(memory);
    this.#filling = new Filling({
      history: (room, range) => connection.history(room, range),
      epoch: (room) => connection.position(room)?.epoch,
      take: (room, messages, more) => this.#fill(room, messages, more),
    });
    this.#typists = new Typists((typing) => this.#set({ typing }));
    this.#stops.push(connection.subscribe((event) => this.#happened(event)));
    const timer = setInterval(() => this.refresh(), PRESENCE_EVERY);
    this.#stops.push(() => clearInterval(timer));
  }

  get state(): ChatState {
    return this.#state;
  }

  /** Ends the chat and its connection. */
  stop(): void {
    for (const stop of this.#stops) stop();
    this.#notes.stop();
    this.#typists.stop();
    this.#filling.stop();
    this.#connection.stop();
  }

  /** Opens a conversation, joining the room or beginning the direct one where there is none yet; told at once. */
  show(id: string): void {
    if (!this.#state.conversations.has(id)) {
      if (id.startsWith("@")) this.#put(this.#direct(id));
      else this.#join(id);
    } else if (this.#isLost(id)) {
      this.#act(id, { type: "rejoin" });
      this.#connection.join(id, PAGE);
    }
    const before = this.#state.open;
    if (before !== undefined && before !== id) this.#act(before, { type: "opened" });
    // Twice would take the mark away that shows where the news begin.
    if (this.#conversation(id)?.unread !== 0 || before !== id) this.#markRead(id);
    this.#set({ open: id });
    this.#askPresence(id);
    // What is typed next is meant for the conversation that was asked for, so it must be there before the next key.
    this.#notifier.now();
  }

  /**
   * Leaves a room, or closes a direct conversation until there is something new in it. What was not sent is discarded; told
   * at once: what is written next has no place there.
   */
  close(id: string): void {
    for (const { key } of this.#conversation(id)?.pending ?? []) this.discard(id, key);
    if (!id.startsWith("@")) this.#connection.leave(id);
    const conversations = new Map(this.#state.conversations);
    conversations.delete(id);
    this.#forgetPresent(id);
    const open = this.#state.open === id ? [...conversations.keys()][0] : this.#state.open;
    this.#set({ conversations, open });
    this.#keepRooms();
    if (open !== undefined && open !== id) this.show(open);
    this.#notifier.now();
  }

  /** Whether somebody looks at the page. */
  setVisible(visible: boolean): void {
    this.#visible = visible;
    if (visible && this.#state.open !== undefined) this.#markRead(this.#state.open);
  }

  /** Takes a hint that the network is back, or the machine awake. */
  wake(): void {
    this.#connection.wake();
  }

  /** Sends a message, or keeps it until that can be done; told at once: who leaves next is to be asked about it. */
  send(id: string, msg: Json): void {
    this.#typists.sent(id);
    this.#connection.publish(targetOf(id), msg);
    this.#notifier.now();
  }

  retry(key: string): void {
    this.#connection.retry(key);
  }

  discard(id: string, key: string): void {
    this.#connection.discard(key);
    this.#leftovers.discard(key);
    this.#act(id, { type: "discard", key });
  }

  /** Says that one is typing; often called, seldom told. */
  typing(id: string): void {
    if (this.#typists.mayTell(id)) this.#connection.signal(targetOf(id), { typing: true });
  }

  /** Asks again what is only hinted at in between. */
  refresh(): void {
    if (this.#connection.status.phase !== "online") return;
    if (this.#state.open !== undefined) this.#askPresence(this.#state.open);
    void this.#connection.rooms().then(
      ({ rooms }) => this.#set({ available: rooms.map(({ room }) => room) }),
      () => {},
    );
  }

  /** Loads the messages before those that are there. */
  async loadOlder(id: string): Promise<void> {
    const room = this.#conversation(id);
    if (room === undefined || (room.older !== "more" && room.older !== "failed")) return;
    this.#act(id, { type: "loading" });
    try {
      if (id.startsWith("@")) await this.#loadOlderDirect(room);
      else await this.#loadOlderRoom(room);
    } catch {
      this.#act(id, { type: "pageFailed" });
    }
  }

  async #loadOlderRoom(room: RoomState): Promise<void> {
    const before = beginning(room);
    const most = Math.min(MOST_OLDER, this.#state.welcome?.limits.replay_messages ?? PAGE);
    const limit = Math.min(Math.max(2 * room.entries.length, PAGE), most);
    const page = await this.#connection.history(room.id, { before, limit });
    // Left and joined again meanwhile, or the oldest lines let go: the page ends elsewhere than what is shown begins.
    if (beginning(this.#sameLog(room, page)) !== before) throw new Error("another beginning");
    this.#act(room.id, { type: "page", messages: page.messages, more: page.more });
  }

  async #loadOlderDirect(room: RoomState): Promise<void> {
    const { id } = room;
    for (let found = false; !found; ) {
      const before = this.#inbox.oldest;
      const page = await this.#connection.history(INBOX, { before, limit: INBOX_PAGE });
      this.#sameLog(room, page);
      // Another conversation was faster, and this page is there.
      if (before !== this.#inbox.oldest) continue;
      const more = this.#inbox.take(page);
      found = !more || page.messages.some((message) => peerOf(message, this.#me) === id);
      const groups = byPeer(page.messages, this.#me);
      for (const [peer, messages] of groups) {
        if (!this.#state.conversations.has(peer)) this.#put(this.#direct(peer));
        this.#act(peer, { type: "page", messages, more });
      }
      if (!groups.has(id)) this.#act(id, found ? { type: "page", messages: [], more } : { type: "loading" });
    }
  }

  /** The conversation as it is now; throws if a page that was asked for before does not belong to it any more. */
  #sameLog({ id, segment }: RoomState, page: HistoryPage): RoomState {
    const now = this.#conversation(id);
    // A gap has a way of its own, and another epoch may have other messages under the same offsets: there will be a word on it.
    const same = now?.segment === segment && page.epoch === this.#connection.position(logOf(id))?.epoch;
    if (!same) throw new Error("another log");
    return now;
  }

  get #me(): string {
    return this.#state.welcome?.user ?? "";
  }

  #conversation(id: string): RoomState | undefined {
    return this.#state.conversations.get(id);
  }

  /** Whether one was put out of a room, or never let in. */
  #isLost(id: string): boolean {
    const phase = this.#conversation(id)?.phase;
    return phase === "left" || phase === "refused";
  }

  #isOutside(id: string): boolean {
    return this.#conversation(id) === undefined || this.#isLost(id);
  }

  #happened(event: ConnectionEvent): void {
    switch (event.type) {
      case "status":
        this.#statusChanged(event.status);
        break;
      case "joined":
        this.#joined(event);
        break;
      case "message":
        this.#message(event.message);
        break;
      case "gap":
        this.#gap(event.room, event.position);
        break;
      case "epoch":
        for (const id of this.#idsOf(event.room)) this.#act(id, { type: "epoch", position: event.position });
        break;
      case "left":
        this.#filling.end(event.room);
        this.#notes.settled(event.room);
        this.#forgetPresent(event.room);
        if (event.reason !== undefined) this.#act(event.room, { type: "left", why: leftBecause(event.reason) });
        break;
      case "refused":
        this.#notes.settled(event.room);
        this.#forgetPresent(event.room);
        this.#act(event.room, { type: "refused", why: event.message });
        break;
      case "presence":
        this.#present(event.event.room, event.event.user, event.event.event === "join");
        break;
      case "signal":
        this.#signal(event.signal.room, event.signal.from, event.signal.data);
        break;
      case "publish":
        this.#leftovers.published(event);
        this.#act(idOf(event.target), { ...event, at: Date.now() });
        break;
    }
  }

  #statusChanged(status: Status): void {
    const before = this.#state.status;
    this.#set({ status });
    if (status.phase === "online") {
      const again = this.#state.welcome;
      this.#set({ welcome: status.welcome });
      if (again === undefined) this.#begin();
      else if (again.session !== status.welcome.session) this.#resumeBegins();
      this.#filling.wake();
      this.#wasOnline = true;
      this.refresh();
    } else if (before.phase === "online" && status.phase !== "stopped" && this.#wasOnline) {
      this.#wasOnline = false;
      this.#notes.lost();
    }
  }

  /** The first sign-in: the inbox, and the rooms of the last visit. */
  #begin(): void {
    this.#connection.join(INBOX, INBOX_PAGE);
    const rooms = new Set(this.#memory.rooms(this.#me) ?? [this.#firstRoom]);
    const wanted = this.#state.open;
    const before = new Map(this.#state.conversations);
    for (const room of rooms) if (!before.has(room)) this.#join(room);
    for (const id of before.keys()) if (!id.startsWith("@")) this.#connection.join(id, PAGE);
    const first = wanted ?? [...rooms][0];
    if (first !== undefined) this.show(first);
    this.#keepRooms();
    this.#sendLeftBehind();
  }

  /** Takes on what an earlier visit could not send: under the same keys, so that it is there once. */
  #sendLeftBehind(): void {
    for (const { key, target, msg, sentAt, failure } of this.#leftovers.of(this.#me)) {
      const id = idOf(target);
      if (!this.#state.conversations.has(id)) {
        if (id.startsWith("@")) this.#put(this.#direct(id));
        else this.#join(id);
      }
      this.#connection.publish(target, msg, key, sentAt, failure);
    }
  }

  #resumeBegins(): void {
    this.#notes.resumes(this.#state.welcome?.server_id ?? "", this.#connection.joined);
  }

  #join(room: string): void {
    this.#put(emptyRoom(room));
    if (this.#state.welcome !== undefined) {
      this.#connection.join(room, PAGE);
      this.#keepRooms();
    }
  }

  #direct(id: string): RoomState {
    return { ...emptyRoom(id), phase: "live", position: this.#connection.position(INBOX), older: this.#inbox.older };
  }

  #joined(event: Extract<ConnectionEvent, { type: "joined" }>): void {
    const { room, position, messages, first, live } = event;
    if (!first) this.#notes.caught(messages.filter(({ from }) => from !== this.#me).length);
    if (live) this.#notes.settled(room);
    if (room !== INBOX) {
      const readUpTo = this.#memory.readUpTo(this.#me, room);
      this.#act(room, { type: "joined", position, messages, first, live, ...(readUpTo && { readUpTo }) });
      if (live && room === this.#state.open) this.#askPresence(room);
      return;
    }
    if (first) this.#inbox.readTo(messages[0]?.offset ?? position.offset + 1);
    for (const [id, group] of byPeer(messages, this.#me)) {
      if (!this.#state.conversations.has(id)) this.#put(this.#direct(id));
      const readUpTo = this.#memory.readUpTo(this.#me, id) ?? { epoch: position.epoch, offset: 0 };
      this.#act(id, { type: "joined", position, messages: group, first, live: true, readUpTo });
    }
    for (const id of this.#idsOf(INBOX)) {
      // All of them are up to here, also those in which nothing is new: how far one has read is kept with the epoch.
      this.#act(id, { type: "epoch", position });
      if (first) this.#act(id, { type: "page", messages: [], more: this.#inbox.older === "more" });
    }
  }

  #message(message: Logged): void {
    const id = message.type === "direct" ? peerOf(message, this.#me) : message.room;
    if (message.type === "direct" && !this.#state.conversations.has(id)) this.#put(this.#direct(id));
    this.#typists.stopped(id, message.from);
    this.#act(id, { type: "message", message });
    if (this.#isRead(id)) this.#keepReadUpTo(id);
  }

  #gap(room: string, position: Position): void {
    this.#notes.gap();
    for (const id of this.#idsOf(room)) this.#act(id, { type: "gap", position });
    if (room === INBOX) this.#inbox.lost();
    this.#filling.begin(room, position.offset + 1);
  }

  /**
   * Takes in what the log still has below a gap, so that only what is lost is missing; tells whether older messages are
   * needed to know where it goes on from what is shown.
   */
  #fill(room: string, messages: readonly Logged[], more: boolean): boolean {
    const owner = (message: Logged) => (room === INBOX ? peerOf(message, this.#me) : room);
    const rooms = this.#idsOf(room).flatMap((id) => this.#conversation(id) ?? []);
    const before = new Map(rooms.map((one) => [one.id, beforeGap(one)]));
    // What is older than a line that is shown has its place in front of it, and comes when one scrolls up.
    const last = messages.findLastIndex((message) => before.get(owner(message))?.known.has(identity(message)) === true);
    const found = messages.slice(last + 1);
    for (const [id, group] of room === INBOX ? byPeer(found, this.#me) : [[room, found] as const]) {
      if (!this.#state.conversations.has(id) && room === INBOX) this.#put(this.#direct(id));
      this.#act(id, { type: "filled", messages: group });
    }
    const same = last >= 0 || ![...before.values()].some(({ anything }) => anything);
    if (!same && more) return true;
    if (room === INBOX) this.#inbox.readTo(last >= 0 ? this.#inbox.oldest : (messages[0]?.offset ?? 1));
    for (const one of this.#idsOf(room).flatMap((id) => this.#conversation(id) ?? [])) {
      const goesOn = same || before.get(one.id)?.anything !== true;
      const isAll = room === INBOX ? this.#inbox.older === "end" : (firstOffset(one) ?? 1) === 1;
      this.#act(one.id, { type: "filledUp", same: goesOn, older: goesOn && !isAll ? "more" : "end" });
    }
    return false;
  }

  /** The conversations that a log concerns. */
  #idsOf(room: string): string[] {
    return room === INBOX ? [...this.#state.conversations.keys()].filter((id) => id.startsWith("@")) : [room];
  }

  #askPresence(id: string): void {
    if (id.startsWith("@") || this.#connection.status.phase !== "online" || this.#isOutside(id)) return;
    void this.#connection.presence(id).then(
      ({ users, count }) => {
        // One may have left meanwhile.
        if (!this.#isOutside(id)) this.#set({ present: new Map(this.#state.present).set(id, { users, count }) });
      },
      () => {},
    );
  }

  /** Who is outside is not told any more who comes and goes, so what was known is no longer true. */
  #forgetPresent(id: string): void {
    const present = new Map(this.#state.present);
    if (present.delete(id)) this.#set({ present });
  }

  #present(room: string, user: string, here: boolean): void {
    const known = this.#state.present.get(room);
    if (!here) this.#typists.stopped(room, user);
    if (known === undefined || known.users.includes(user) === here) return;
    const users = here ? [...known.users, user] : known.users.filter((other) => other !== user);
    const count = known.count + (here ? 1 : -1);
    this.#set({ present: new Map(this.#state.present).set(room, { users, count }) });
  }

  #signal(room: string, from: string, data: Json): void {
    if (from === this.#me || typeof data !== "object" || data === null || Array.isArray(data)) return;
    const id = room === INBOX ? `@${from}` : room;
    if (data["typing"] === true) this.#typists.started(id, from);
    else if (data["typing"] === false) this.#typists.stopped(id, from);
  }

  #isRead(id: string): boolean {
    return this.#visible && this.#state.open === id;
  }

  #markRead(id: string): void {
    this.#act(id, { type: "opened" });
    this.#keepReadUpTo(id);
  }

  #keepReadUpTo(id: string): void {
    const position = this.#conversation(id)?.position;
    if (position !== undefined) this.#memory.keepReadUpTo(this.#me, id, position);
  }

  #keepRooms(): void {
    if (this.#state.welcome === undefined) return;
    this.#memory.keepRooms(this.#me, [...this.#state.conversations.keys()].filter((id) => !id.startsWith("@")));
  }

  #act(id: string, action: RoomAction): void {
    const before = this.#conversation(id);
    if (before === undefined) return;
    const after = roomReducer(before, action, { me: this.#me, reading: this.#isRead(id) });
    if (after !== before) this.#put(after);
    if (action.type === "joined" && this.#isRead(id)) this.#keepReadUpTo(id);
  }

  #put(room: RoomState): void {
    this.#set({ conversations: new Map(this.#state.conversations).set(room.id, room) });
  }

  #set(part: Partial<ChatState>): void {
    this.#state = { ...this.#state, ...part };
    this.#notifier.soon();
  }
}

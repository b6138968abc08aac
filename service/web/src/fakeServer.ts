/**
 * A Parley of one instance in memory, for tests: it speaks the protocol as far as a client can see it, and does what a real
 * one only does on bad days. It has no clock, no rates and no rights.
 */
import type { SocketLike } from "./link.ts";
import {
  type ClientFrame,
  decode,
  INBOX,
  type Logged,
  type Position,
  type ServerFrame,
  type Welcome,
} from "./protocol.ts";

type Chat = Extract<ClientFrame, { type: "chat" }>;

interface Log {
  epoch: string;
  /** Former epochs, each with its last offset that is in this log, too. */
  readonly former: Map<string, number>;
  messages: Logged[];
  top: number;
  keys: Map<string, number>;
}

/** What to do with the next publish instead of storing and acking it. */
export type Mishap =
  | { readonly code: string; readonly retryAfter?: number; readonly stored?: boolean }
  /** Stored, and the socket is cut before the ack or the echo. */
  | "cut after storing"
  /** The socket is cut before anything is stored. */
  | "cut before storing"
  /** Stored and shown to everybody, but the ack never comes. */
  | "no ack";

export class FakeServer {
  serverId = "server-1";
  /** Messages in one `joined` or `history`. */
  pageSize = 1_000;
  expiresIn: number | undefined;
  affinityCookie: string | undefined;
  /** Whether handshakes fail. */
  down = false;
  /** Whether handshakes go unanswered. */
  hangs = false;
  /** The close code of every sign-in from now on. */
  refuseWith: number | undefined;
  readonly mishaps: Mishap[] = [];
  /** Every frame that clients have sent, in order. */
  readonly received: ClientFrame[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly #logs = new Map<string, Log>();
  #sessions = 0;
  #epochs = 0;
  #now = 1_763_778_000_000;

  readonly open = (): SocketLike => {
    const socket = new FakeSocket(this);
    queueMicrotask(() => {
      if (this.down) {
        socket.end(1006);
        return;
      }
      if (this.hangs) return;
      this.sockets.push(socket);
      socket.opened();
    });
    return socket;
  };

  /** The sockets that are open. */
  get live(): FakeSocket[] {
    return this.sockets.filter((socket) => !socket.closed);
  }

  /** Cuts every connection, without a close frame. */
  cut(): void {
    for (const socket of this.live) socket.end(1006);
  }

  log(room: string): Log {
    const known = this.#logs.get(room);
    if (known !== undefined) return known;
    const log: Log = { epoch: `e${++this.#epochs}`, former: new Map(), messages: [], top: 0, keys: new Map() };
    this.#logs.set(room, log);
    return log;
  }

  /** Somebody else writes. */
  say(room: string, from: string, msg: string): void {
    this.#append(room, { from, msg });
  }

  /** Somebody else writes to a user. */
  whisper(from: string, to: string, msg: string): void {
    this.#append(`${INBOX} ${to}`, { from, to, msg });
  }

  /** The log is lost: members are told of a gap. */
  lose(room: string): void {
    this.#logs.delete(room);
    const { epoch, top } = this.log(room);
    this.toMembers(room, { type: "gap", room: logged(room), epoch, offset: top });
  }

  /**
   * The log lives on under a new epoch, in a replica that had all of it but the last so many messages. Members are told at
   * once: of a gap where something was lost.
   */
  failover(room: string, { lost = 0, told = this.live }: { lost?: number; told?: readonly FakeSocket[] } = {}): void {
    const log = this.log(room);
    const gone = lost > 0 ? log.messages.splice(-lost) : [];
    log.top -= gone.length;
    for (const { key } of gone) if (key !== undefined) log.keys.delete(key);
    for (const [epoch, top] of log.former) log.former.set(epoch, Math.min(top, log.top));
    log.former.set(log.epoch, log.top);
    log.epoch = `e${++this.#epochs}`;
    const word = { room: logged(room), epoch: log.epoch, offset: log.top };
    this.toMembers(
      room,
      gone.length > 0 ? { type: "gap", ...word } : { type: "joined", ...word, recovered: true, more: false, messages: [] },
      told,
    );
  }

  /** The log lives on under a new epoch: nothing is lost. */
  renew(room: string): void {
    this.failover(room);
  }

  toMembers(room: string, frame: ServerFrame, told: readonly FakeSocket[] = this.live): void {
    for (const socket of told) if (socket.rooms.has(room)) socket.tell(frame);
  }

  /** Messages of a log as texts. */
  texts(room: string): unknown[] {
    return this.log(room).messages.map(({ msg }) => msg);
  }

  welcome(user: string): Welcome {
    return {
      type: "welcome",
      server_id: this.serverId,
      session: `s${++this.#sessions}`,
      user,
      protocol: 1,
      limits: {
        message_bytes: 32_768,
        frame_bytes: 65_536,
        rooms: 200,
        messages_per_second: 20,
        messages_burst: 50,
        replay_messages: this.pageSize,
        ping_seconds: 20,
        history_messages: 1_000,
        name_bytes: 128,
        key_bytes: 64,
      },
      ...(this.expiresIn !== undefined && { expires_in: this.expiresIn }),
      ...(this.affinityCookie !== undefined && { affinity_cookie: this.affinityCookie }),
    };
  }

  /** Answers a frame of a signed-in socket. */
  answer(socket: FakeSocket, frame: ClientFrame): void {
    const id = frame.id === undefined ? {} : { id: frame.id };
    switch (frame.type) {
      case "join":
        this.#join(socket, frame);
        break;
      case "leave":
        socket.rooms.delete(socket.named(frame.room));
        if (frame.id !== undefined) socket.tell({ type: "left", ...id, room: frame.room });
        break;
      case "chat":
        this.#chat(socket, frame);
        break;
      case "history":
        this.#history(socket, frame);
        break;
      case "presence": {
        const users = [...new Set(this.live.filter(({ rooms }) => rooms.has(frame.room)).map(({ user }) => user))];
        socket.tell({ type: "presence", ...id, room: frame.room, users, count: users.length });
        break;
      }
      case "rooms": {
        const rooms = [...this.#logs].filter(([room, { top }]) => !room.startsWith("@") && top > 0);
        socket.tell({ type: "rooms", ...id, rooms: rooms.map(([room, { top }]) => ({ room, offset: top })), more: false });
        break;
      }
      case "signal":
        for (const other of this.live) {
          const here = frame.to === undefined ? other.rooms.has(frame.room ?? "") : other.user === frame.to;
          if (other !== socket && here) {
            other.tell({ type: "signal", room: frame.room ?? INBOX, from: socket.user, data: frame.data });
          }
        }
        break;
      case "ping":
        socket.tell({ type: "pong", ...id });
        break;
      case "auth":
        socket.tell({ type: "ok", ...id, ...(this.expiresIn !== undefined && { expires_in: this.expiresIn }) });
    }
  }

  #join(socket: FakeSocket, { id, room, since, history = 0 }: Extract<ClientFrame, { type: "join" }>): void {
    const log = this.log(socket.named(room));
    const reply = { type: "joined", ...(id !== undefined && { id }), room, epoch: log.epoch } as const;
    const known = since !== undefined && this.#reaches(log, since);
    if (since !== undefined && !known) {
      socket.rooms.add(socket.named(room));
      socket.tell({ ...reply, offset: log.top, recovered: false, more: false, messages: [] });
      return;
    }
    const missed = since === undefined ? log.messages.slice(-history || log.top) : log.messages.filter(({ offset }) => offset > since.offset);
    const messages = since === undefined && history === 0 ? [] : missed.slice(0, this.pageSize);
    const more = since !== undefined && messages.length < missed.length;
    if (!more) socket.rooms.add(socket.named(room));
    else socket.rooms.delete(socket.named(room));
    const offset = more ? (messages.at(-1)?.offset ?? 0) : log.top;
    socket.tell({ ...reply, offset, recovered: true, more, messages });
  }

  #reaches(log: Log, since: Position): boolean {
    const last = since.epoch === log.epoch ? log.top : (log.former.get(since.epoch) ?? -1);
    if (since.offset > last) return false;
    return (log.messages[0]?.offset ?? log.top + 1) <= since.offset + 1;
  }

  #history(socket: FakeSocket, { id, room, before, after, limit = 50 }: Extract<ClientFrame, { type: "history" }>): void {
    const log = this.log(socket.named(room));
    const most = Math.min(limit, this.pageSize);
    const range = log.messages.filter(({ offset }) => offset < (before ?? Number.POSITIVE_INFINITY) && offset > (after ?? 0));
    const messages = after === undefined ? range.slice(-most) : range.slice(0, most);
    const more = messages.length < range.length;
    socket.tell({ type: "history", ...(id !== undefined && { id }), room, epoch: log.epoch, messages, more });
  }

  #chat(socket: FakeSocket, frame: Chat): void {
    const id = frame.id === undefined ? {} : { id: frame.id };
    const mishap = this.mishaps.shift();
    const room = frame.to === undefined ? (frame.room ?? "") : `${INBOX} ${socket.user}`;
    if (mishap === "cut before storing") {
      socket.end(1006);
      return;
    }
    if (typeof mishap === "object" && mishap.stored !== true) {
      const { code, retryAfter } = mishap;
      socket.tell({ type: "error", ...id, code, message: code, ...(retryAfter !== undefined && { retry_after_ms: retryAfter }) });
      return;
    }
    // A cut socket hears neither its own message nor the ack.
    if (mishap === "cut after storing") socket.end(1006);
    const content = { from: socket.user, msg: frame.msg, ...(frame.key !== undefined && { key: frame.key }) };
    const known = frame.key === undefined ? undefined : this.log(room).keys.get(frame.key);
    const offset = known ?? this.#append(room, frame.to === undefined ? content : { ...content, to: frame.to });
    if (known === undefined && frame.to !== undefined && frame.to !== socket.user) {
      this.#append(`${INBOX} ${frame.to}`, { ...content, to: frame.to });
    }
    if (typeof mishap === "object") socket.tell({ type: "error", ...id, code: mishap.code, message: mishap.code });
    else if (mishap !== "no ack") {
      const { epoch } = this.log(room);
      socket.tell({ type: "ack", ...id, room: frame.to === undefined ? room : INBOX, epoch, offset, at: this.#now });
    }
  }

  #append(room: string, content: { from: string; to?: string; msg: Logged["msg"]; key?: string }): number {
    const log = this.log(room);
    const offset = ++log.top;
    const { to, ...rest } = content;
    const at = (this.#now += 1_000);
    const message: Logged =
      to === undefined
        ? { type: "message", room, offset, at, ...rest }
        : { type: "direct", room: INBOX, offset, at, to, ...rest };
    log.messages.push(message);
    if (content.key !== undefined) log.keys.set(content.key, offset);
    this.toMembers(room, message);
    return offset;
  }
}

/** What a log is called by those who may read it. */
function logged(room: string): string {
  return room.startsWith(`${INBOX} `) ? INBOX : room;
}

export class FakeSocket implements SocketLike {
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  readonly rooms = new Set<string>();
  user = "";
  closed = false;
  /** Takes frames and says nothing any more: a connection that is half dead. */
  silent = false;
  /** The code with which the client closed it. */
  closedWith: number | undefined;
  #isOpen = false;
  readonly #server: FakeServer;

  constructor(server: FakeServer) {
    this.#server = server;
  }

  opened(): void {
    // The client may have given it up meanwhile.
    if (this.closed) return;
    this.#isOpen = true;
    this.onopen?.();
  }

  /** The log's name: every user has an inbox of their own. */
  named(room: string): string {
    return room === INBOX ? `${INBOX} ${this.user}` : room;
  }

  /** Throws where a browser does. */
  send(text: string): void {
    if (!this.#isOpen) throw new DOMException("still connecting", "InvalidStateError");
    if (this.closed) return;
    const frame = JSON.parse(text) as ClientFrame;
    this.#server.received.push(frame);
    queueMicrotask(() => {
      if (this.closed || this.silent) return;
      if (frame.type === "auth" && this.user === "") this.#signIn(frame);
      else this.#server.answer(this, frame);
    });
  }

  #signIn({ id, token }: Extract<ClientFrame, { type: "auth" }>): void {
    const { refuseWith } = this.#server;
    if (refuseWith !== undefined) {
      const fault = { type: "error", code: "unauthenticated", message: "not with this token" } as const;
      this.tell({ ...fault, ...(id !== undefined && { id }) });
      this.end(refuseWith);
      return;
    }
    this.user = token;
    this.tell(this.#server.welcome(token));
    this.tell({ type: "ok", ...(id !== undefined && { id }) });
  }

  tell(frame: ServerFrame): void {
    const text = JSON.stringify(frame);
    // A fake that says what no real one would proves nothing.
    decode(text);
    if (!this.closed && !this.silent) this.onmessage?.({ data: text });
  }

  /** Ends it from the server's side. */
  end(code: number): void {
    if (this.closed) return;
    this.closed = true;
    this.onclose?.({ code, reason: "" });
  }

  /** Throws where a browser does. */
  close(code = 1000): void {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException(`no code to close with: ${code}`, "InvalidAccessError");
    this.closedWith = code;
    this.closed = true;
  }
}

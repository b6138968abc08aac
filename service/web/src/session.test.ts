/** Being signed in and coming back to it, against a server in memory. A token here is a name, a dot and a serial number. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeServer } from "./fakeServer.ts";
import { type Identity, Memory } from "./memory.ts";
import { Session } from "./session.ts";

let server: FakeServer;
let session: Session;
/** Who has signed in instead of the one before. */
let others: Identity[];

const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const token = (text: string): Identity => ({ kind: "token", token: text });

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  others = [];
  const { welcome } = server;
  server.welcome = (text) => {
    const socket = server.live.find(({ user }) => user === text);
    const [name = ""] = text.split(".");
    if (socket !== undefined) socket.user = name;
    return welcome.call(server, name);
  };
});

afterEach(() => {
  session.end();
  vi.useRealTimers();
});

/** All tokens that were given out so far have expired: sessions end, and sign-ins are refused. */
function expire(): void {
  server.refuseWith = 4001;
  for (const socket of server.live) socket.end(4001);
}

async function begin(identity: Identity): Promise<void> {
  const values = new Map<string, string>();
  const store = {
    getItem: (name: string) => values.get(name) ?? null,
    setItem: (name: string, value: string) => void values.set(name, value),
    removeItem: (name: string) => void values.delete(name),
  };
  const connection = {
    url: "ws://parley.test/ws",
    openSocket: server.open,
    probe: () => Promise.resolve({ verdict: "again", after: 0, why: "gone" } as const),
    random: () => 0.5,
  };
  session = new Session({ identity, memory: new Memory(() => store, () => store), connection }, (other) => others.push(other));
  await settle();
}

const tokensSent = () => server.received.flatMap((frame) => (frame.type === "auth" ? [frame.token] : []));
const shown = () => {
  const { entries = [], pending = [] } = session.chat.state.conversations.get("general") ?? {};
  return [...entries.map((entry) => (entry.kind === "gap" ? "|" : entry.msg)), ...pending.map(({ msg }) => msg)];
};

describe("a token that has expired", () => {
  it("is tried once more and then no longer, and the page says why", async () => {
    await begin(token("alice.1"));
    expire();
    await pass(60_000);
    expect(tokensSent()).toEqual(["alice.1", "alice.1"]);
    expect(session.chat.state.status).toMatchObject({ phase: "stopped", code: 4001 });
  });

  it("had expired before the page was opened: just so", async () => {
    expire();
    await begin(token("alice.1"));
    await pass(60_000);
    expect(tokensSent()).toEqual(["alice.1", "alice.1"]);
    expect(session.chat.state).toMatchObject({ welcome: undefined, status: { phase: "stopped", code: 4001 } });
  });

  it("is followed by a fresh one in place: what was shown, written and missed is there, and nothing is sent twice", async () => {
    await begin(token("alice.1"));
    server.say("general", "bob", "before");
    session.chat.send("general", "mine");
    await settle();
    expire();
    await pass(5_000);
    server.say("general", "bob", "meanwhile");
    session.chat.send("general", "written meanwhile");
    server.refuseWith = undefined;
    session.signIn(token("alice.2"));
    await settle();
    expect(session.chat.state.status.phase).toBe("online");
    expect(shown()).toEqual(["before", "mine", "meanwhile", "written meanwhile"]);
    expect(server.texts("general")).toEqual(shown());
    expect([session.chat.state.note?.text, others]).toEqual(["Connected to server-1. 1 message caught up.", []]);
  });

  it("is followed at once, also while the server cannot be reached", async () => {
    await begin(token("alice.1"));
    expire();
    await pass(5_000);
    server.down = true;
    session.signIn(token("alice.2"));
    await pass(10_000);
    expect(session.chat.state.status.phase).toBe("waiting");
    server.down = false;
    server.refuseWith = undefined;
    session.signIn(token("alice.3"));
    await settle();
    expect([session.chat.state.status.phase, tokensSent().at(-1)]).toEqual(["online", "alice.3"]);
  });

  it("twice, but not in a row, ends nothing", async () => {
    await begin(token("alice.1"));
    for (const serial of [2, 3, 4]) {
      for (const socket of server.live) socket.end(4001);
      session.signIn(token(`alice.${serial}`));
      await pass(5_000);
    }
    expect([session.chat.state.status.phase, tokensSent()]).toEqual(["online", ["alice.1", "alice.2", "alice.3", "alice.4"]]);
  });
});

describe("another person's token", () => {
  it("ends the session, and nothing of the one before is shown to them or sent in their name", async () => {
    await begin(token("alice.1"));
    expire();
    await pass(5_000);
    session.chat.send("general", "alice's");
    server.refuseWith = undefined;
    session.signIn(token("bob.1"));
    await pass(60_000);
    expect(others).toEqual([token("bob.1")]);
    expect([session.chat.state.welcome?.user, server.texts("general"), server.live]).toEqual(["alice", [], []]);
  });
});

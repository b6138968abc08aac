/** What the page remembers between visits. A browser that forbids it is no reason to fail: then nothing is remembered. */
import type { Failure, Target } from "./events.ts";
import type { Json, Position } from "./protocol.ts";

/** How one signs in. `token` is a name where the server is open. */
export interface Identity {
  readonly kind: "name" | "token";
  readonly token: string;
}

/** A message that is not known to be stored. */
export interface Unsent {
  readonly key: string;
  readonly target: Target;
  readonly msg: Json;
  /** When it left for the first time, in milliseconds since 1970; 0 when it has not. */
  readonly sentAt: number;
  /** Why it had failed, if it had: then a person decides. */
  readonly failure?: Failure;
}

/** The part of a browser's `Storage` that is used. */
export type Store = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export class Memory {
  readonly #lasting: () => Store;
  readonly #tab: () => Store;

  /**
   * @param lasting outlives the tab.
   * @param tab ends with it, so that two tabs can be two people, and tokens do not stay behind.
   */
  constructor(lasting: () => Store = () => localStorage, tab: () => Store = () => sessionStorage) {
    this.#lasting = lasting;
    this.#tab = tab;
  }

  identity(): Identity | undefined {
    return this.#read(this.#tab, "identity", isIdentity);
  }

  keepIdentity(identity: Identity | undefined): void {
    this.#write(this.#tab, "identity", identity);
    if (identity?.kind === "name") this.#write(this.#lasting, "name", identity.token);
  }

  /** The name that was last used here. */
  name(): string {
    return this.#read(this.#lasting, "name", isText) ?? "";
  }

  /** The rooms that a user was in, or `undefined` on the first visit. */
  rooms(user: string): readonly string[] | undefined {
    return this.#read(this.#lasting, `rooms ${user}`, isTexts);
  }

  keepRooms(user: string, rooms: readonly string[]): void {
    this.#write(this.#lasting, `rooms ${user}`, rooms);
  }

  /** Up to where a user has read a conversation. */
  readUpTo(user: string, conversation: string): Position | undefined {
    return this.#read(this.#lasting, `read ${user} ${conversation}`, isPosition);
  }

  keepReadUpTo(user: string, conversation: string, position: Position): void {
    this.#write(this.#lasting, `read ${user} ${conversation}`, position);
  }

  /** What the page had not brought away when it was last closed or loaded again; of this tab, so that no two send it. */
  unsent(user: string): readonly Unsent[] {
    return this.#read(this.#tab, `unsent ${user}`, isUnsent) ?? [];
  }

  keepUnsent(user: string, unsent: readonly Unsent[]): void {
    this.#write(this.#tab, `unsent ${user}`, unsent.length > 0 ? unsent : undefined);
  }

  #read<T>(store: () => Store, name: string, is: (value: unknown) => value is T): T | undefined {
    try {
      const value: unknown = JSON.parse(store().getItem(`parley ${name}`) ?? "null");
      return is(value) ? value : undefined;
    } catch {
      return undefined;
    }
  }

  #write(store: () => Store, name: string, value: unknown): void {
    try {
      if (value === undefined) store().removeItem(`parley ${name}`);
      else store().setItem(`parley ${name}`, JSON.stringify(value));
    } catch {
      // Full or forbidden: the page works without.
    }
  }
}

const isText = (value: unknown): value is string => typeof value === "string";
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText);
const fields = (value: unknown) => (typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {});
const isPosition = (value: unknown): value is Position =>
  isText(fields(value)["epoch"]) && typeof fields(value)["offset"] === "number";
const isTarget = (value: unknown): value is Target => isText(fields(value)["room"]) !== isText(fields(value)["to"]);
const isFailure = (value: unknown): value is Failure =>
  isText(fields(value)["code"]) && isText(fields(value)["message"]) && typeof fields(value)["perhapsStored"] === "boolean";
const isUnsent = (value: unknown): value is Unsent[] =>
  Array.isArray(value) &&
  value.map(fields).every((one) => {
    const failed = one["failure"] === undefined || isFailure(one["failure"]);
    return isText(one["key"]) && isTarget(one["target"]) && typeof one["sentAt"] === "number" && "msg" in one && failed;
  });
const isIdentity = (value: unknown): value is Identity =>
  isText(fields(value)["token"]) && ["name", "token"].includes(String(fields(value)["kind"]));

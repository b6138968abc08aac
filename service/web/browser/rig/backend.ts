/** The back end of an application, which fills rooms over the server API. */

/** The key that instances of a test are started with. */
export const API_KEY = "a-key-that-is-only-for-tests";

export class Backend {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Writes into a room as somebody. */
  async say(room: string, from: string, msg: string): Promise<void> {
    await this.#post(`rooms/${encodeURIComponent(room)}/messages`, { from, msg });
  }

  /** Writes to a user as somebody. */
  async whisper(to: string, from: string, msg: string): Promise<void> {
    await this.#post(`users/${encodeURIComponent(to)}/messages`, { from, msg });
  }

  async typing(room: string, from: string): Promise<void> {
    await this.#post(`rooms/${encodeURIComponent(room)}/signals`, { from, data: { typing: true } });
  }

  /** Removes a user from a room. */
  async kick(room: string, user: string): Promise<void> {
    await this.#send("DELETE", `rooms/${encodeURIComponent(room)}/members/${encodeURIComponent(user)}`);
  }

  #post(path: string, body: object): Promise<void> {
    return this.#send("POST", path, JSON.stringify(body));
  }

  async #send(method: string, path: string, body: string | null = null): Promise<void> {
    const headers = { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" };
    const response = await fetch(`${this.#url}api/v1/${path}`, { method, headers, body });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }
}

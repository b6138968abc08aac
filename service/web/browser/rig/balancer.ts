/** A TCP balancer for tests: the first upstream that takes the connection gets it. And the bad days of a network. */
import { createServer, connect, type Server, type Socket } from "node:net";

export interface Upstream {
  readonly port: number;
}

export class Balancer {
  readonly url: string;
  /** In the order in which they are tried. */
  upstreams: readonly Upstream[];
  /** Whether new connections are refused. */
  closed = false;
  #holding = false;
  readonly #server: Server;
  readonly #pairs = new Set<{ client: Socket; server: Socket }>();

  private constructor(server: Server, port: number, upstreams: readonly Upstream[]) {
    this.#server = server;
    this.upstreams = upstreams;
    this.url = `http://127.0.0.1:${port}/`;
    server.on("connection", (client) => this.#accept(client, [...this.upstreams]));
  }

  static start(...upstreams: Upstream[]): Promise<Balancer> {
    const server = createServer({ noDelay: true });
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(new Balancer(server, typeof address === "object" && address !== null ? address.port : 0, upstreams));
      });
    });
  }

  /** Cuts all connections that there are. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
  }

  /** From now on nothing comes back from the servers, though everything reaches them. Ended by {@link cut}. */
  hold(): void {
    this.#holding = true;
    for (const { client, server } of this.#pairs) server.unpipe(client).resume();
  }

  release(): void {
    this.#holding = false;
  }

  async stop(): Promise<void> {
    const stopped = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await stopped;
  }

  #accept(client: Socket, upstreams: Upstream[]): void {
    client.on("error", () => client.destroy());
    const upstream = upstreams.shift();
    if (upstream === undefined || this.closed) {
      client.destroy();
      return;
    }
    const server = connect({ port: upstream.port, host: "127.0.0.1", noDelay: true });
    const refused = () => this.#accept(client, upstreams);
    server.once("error", refused);
    server.once("connect", () => {
      server.off("error", refused).on("error", () => server.destroy());
      const pair = { client, server };
      this.#pairs.add(pair);
      client.pipe(server);
      if (!this.#holding) server.pipe(client);
      client.once("close", () => server.destroy());
      server.once("close", () => {
        this.#pairs.delete(pair);
        client.destroy();
      });
    });
  }
}

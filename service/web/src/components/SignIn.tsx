/** The first page: a name, or a token where the server asks for one. */
import { type FormEvent, useState } from "react";
import { UNAUTHENTICATED } from "../closeCodes.ts";
import type { Status } from "../events.ts";
import type { Identity } from "../memory.ts";
import { nameFault, sentence } from "../names.ts";
import { Mark } from "./icons.tsx";

interface SignInProps {
  readonly name: string;
  /** Of the attempt that is being made, or has failed. */
  readonly status?: Status;
  readonly kind?: Identity["kind"];
  readonly onSignIn: (identity: Identity) => void;
}

export function SignIn({ name: known, status, kind: tried = "name", onSignIn }: SignInProps) {
  const refused = status?.phase === "stopped";
  const [name, setName] = useState(known);
  const [token, setToken] = useState("");
  // A server that refuses a name does not believe names at all.
  const wantsToken = refused && status.code === UNAUTHENTICATED && tried === "name";
  const [chosen, setKind] = useState<Identity["kind"]>();
  const kind = chosen ?? (wantsToken ? "token" : tried);
  const [fault, setFault] = useState<string>();
  // Whatever else is typed in may be tried at once: what is being tried may never succeed.
  const typed = kind !== tried || (kind === "name" ? name !== known : token !== "");
  const busy = !typed && (status?.phase === "connecting" || status?.phase === "online");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const given = kind === "name" ? name.trim().toWellFormed() : token.trim();
    const wrong = kind === "name" ? nameFault(given) : given === "" ? "Paste the token that you were given." : undefined;
    setFault(wrong);
    if (wrong === undefined) onSignIn({ kind, token: given });
  };
  const why = wantsToken ? "This server takes no names, only tokens. Paste the one that you were given." : refused ? status.why : "";
  const said = fault ?? (why === "" ? undefined : sentence(why));
  return (
    <main className="sign-in">
      <form className="sign-in-card" onSubmit={submit} noValidate>
        <Mark size={44} />
        <h1>Parley</h1>
        <p className="sign-in-lead">{kind === "name" ? "What should the others call you?" : "Sign in with a token."}</p>
        {kind === "name" ? (
          <label className="field">
            <span>Name</span>
            <input
              value={name}
              onChange={(event) => setName(event.target.value)}
              autoFocus
              autoComplete="username"
              autoCapitalize="off"
              spellCheck={false}
              aria-invalid={said !== undefined}
              aria-describedby="sign-in-said"
            />
          </label>
        ) : (
          <label className="field">
            <span>Token</span>
            <input
              type="password"
              value={token}
              onChange={(event) => setToken(event.target.value)}
              autoFocus
              autoComplete="off"
              aria-invalid={said !== undefined}
              aria-describedby="sign-in-said"
            />
          </label>
        )}
        <p className="sign-in-said" id="sign-in-said" role="alert">
          {said ?? (status?.phase === "waiting" ? `${status.why} Trying again…` : "")}
        </p>
        <button className="primary" type="submit" disabled={busy}>
          {busy ? "Connecting…" : "Start chatting"}
        </button>
        <button
          className="quiet"
          type="button"
          onClick={() => {
            setKind(kind === "name" ? "token" : "name");
            setFault(undefined);
          }}
        >
          {kind === "name" ? "Use a token instead" : "Use a name instead"}
        </button>
      </form>
    </main>
  );
}

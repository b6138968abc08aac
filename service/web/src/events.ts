/** What a connection tells: the only way in which the rest of a program learns of the chat. */
import type { Json, Logged, Position, PresenceEvent, Signal, Welcome } from "./protocol.ts";

/** Where a message goes: to a room, or to a user. */
export type Target = { readonly room: string } | { readonly to: string };

/** How the connection is. */
export type Status =
  /** An attempt is being made. */
  | { readonly phase: "connecting"; readonly attempts: number }
  /** Signed in. `moving` while another socket is being made ready, because this instance is about to stop. */
  | { readonly phase: "online"; readonly welcome: Welcome; readonly moving: boolean }
  /** The next attempt is at `until`, in milliseconds since 1970. */
  | { readonly phase: "waiting"; readonly until: number; readonly attempts: number; readonly why: string }
  /** It will not come back by itself. `code` is the close code, where there was one. */
  | { readonly phase: "stopped"; readonly why: string; readonly code?: number };

/** Why a publish has not happened. */
export interface Failure {
  /** An error code of the protocol, or `left` when the room was lost on the way. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /** Whether it may be in the log all the same, so that sending again may double it. Only then should a person be asked. */
  readonly perhapsStored: boolean;
}

/** How far a publish of this client has come. */
export type Progress =
  | { readonly state: "waiting" }
  | { readonly state: "sending" }
  | { readonly state: "sent"; readonly at: number }
  | { readonly state: "failed"; readonly failure: Failure };

export type ConnectionEvent =
  | { readonly type: "status"; readonly status: Status }
  /**
   * A room answered a join: `messages` are those that are new to this client, the oldest first. `first` when it had no
   * position before, so that they are the newest of the log rather than what was missed. More follow until `live`.
   */
  | {
      readonly type: "joined";
      readonly room: string;
      readonly position: Position;
      readonly messages: readonly Logged[];
      readonly first: boolean;
      readonly live: boolean;
    }
  | { readonly type: "message"; readonly message: Logged }
  /** Messages up to `position` may be lost; read the history below it for what is left. */
  | { readonly type: "gap"; readonly room: string; readonly position: Position }
  /** The log has a new epoch and nothing was lost. */
  | { readonly type: "epoch"; readonly room: string; readonly position: Position }
  /** The room is left: by a `leave`, or unasked for, with a reason. */
  | { readonly type: "left"; readonly room: string; readonly reason?: string }
  /** A join was refused for good. */
  | { readonly type: "refused"; readonly room: string; readonly code: string; readonly message: string }
  | { readonly type: "presence"; readonly event: PresenceEvent }
  | { readonly type: "signal"; readonly signal: Signal }
  | {
      readonly type: "publish";
      readonly key: string;
      readonly target: Target;
      readonly msg: Json;
      readonly progress: Progress;
    };

/** Called for every event, in order. It must not throw. */
export type Listener = (event: ConnectionEvent) => void;

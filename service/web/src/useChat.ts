/** Joins a chat with React: the only place where they meet. */
import { useEffect, useSyncExternalStore } from "react";
import { addressOf, roomInAddress } from "./address.ts";
import type { Chat, ChatState } from "./chat.ts";

/** What the chat shows now; renders again when it changes. */
export function useChat(chat: Chat): ChatState {
  return useSyncExternalStore(chat.subscribe, () => chat.state);
}

/** Hands on what a page alone knows: whether it is looked at, whether there is a network, and its address. */
export function usePage(chat: Chat, { conversations, open }: ChatState): void {
  const unread = [...conversations.values()].reduce((sum, room) => sum + room.unread, 0);
  useEffect(() => {
    const name = open === undefined ? "" : open.startsWith("@") ? `${open.slice(1)} · ` : `#${open} · `;
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${name}Parley`;
  }, [unread, open]);
  useEffect(() => {
    if (open !== undefined && roomInAddress() !== open) history.pushState(null, "", addressOf(open));
  }, [open]);
  useEffect(() => {
    const connection = new AbortController();
    const { signal } = connection;
    const looked = () => {
      const visible = document.visibilityState === "visible";
      chat.setVisible(visible);
      if (visible) chat.wake();
    };
    const moved = () => {
      const id = roomInAddress();
      if (id !== undefined && id !== chat.state.open) chat.show(id);
    };
    looked();
    document.addEventListener("visibilitychange", looked, { signal });
    window.addEventListener("online", () => chat.wake(), { signal });
    window.addEventListener("popstate", moved, { signal });
    return () => connection.abort();
  }, [chat]);
}

/** Where a message is written. Works without a connection, too: what is sent then waits. */
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import { bytes } from "../protocol.ts";
import { Send } from "./icons.tsx";

interface ComposerProps {
  readonly id: string;
  readonly placeholder: string;
  /** The largest message as JSON text, in bytes. */
  readonly most: number;
  readonly offline: boolean;
  readonly typing: readonly string[];
  readonly drafts: Map<string, string>;
  readonly onTyping: () => void;
  readonly onSend: (text: string) => void;
}

export function Composer({ id, placeholder, most, offline, typing, drafts, onTyping, onSend }: ComposerProps) {
  const [text, setText] = useState(() => drafts.get(id) ?? "");
  const field = useRef<HTMLTextAreaElement>(null);
  // A keyboard that pops up over what one came to read is no help.
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);
  useLayoutEffect(() => {
    const element = field.current;
    if (element === null || CSS.supports("field-sizing", "content")) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  const message = text.trim().toWellFormed();
  const over = excess(message, most);
  const write = (value: string) => {
    setText(value);
    drafts.set(id, value);
    if (value.trim() !== "") onTyping();
  };
  const send = () => {
    if (message === "" || over > 0) return;
    onSend(message);
    setText("");
    drafts.delete(id);
    field.current?.focus();
  };
  const pressed = (event: KeyboardEvent) => {
    // Enter that ends a composition, as of Japanese, is not meant for us.
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    }
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-box">
        <textarea
          id="composer"
          ref={field}
          rows={1}
          value={text}
          onChange={(event) => write(event.target.value)}
          onKeyDown={pressed}
          placeholder={placeholder}
          aria-label={placeholder}
          aria-describedby="composer-word"
          enterKeyHint="send"
        />
        <button type="submit" className="send" disabled={message === "" || over > 0} aria-label="Send">
          <Send />
        </button>
      </div>
      <div className="composer-word">
        <span className="typing" aria-live="polite">
          {typing.length > 0 && (
            <>
              <span className="typing-dots" aria-hidden="true">
                <i />
                <i />
                <i />
              </span>
              {whoTypes(typing)}
            </>
          )}
        </span>
        <span id="composer-word" className="composer-hint" data-tone={over > 0 ? "bad" : ""}>
          {over > 0
            ? `Too long by ${over} bytes`
            : offline && message !== ""
              ? "Will be sent when you are back online"
              : text.includes("\n")
                ? "Enter sends, Shift + Enter breaks the line"
                : ""}
        </span>
      </div>
    </form>
  );
}

/**
 * By how many bytes a message is too long as JSON text; 0 when it is not. Only what could be is measured: JSON writes a
 * control character with six.
 */
export function excess(message: string, most: number): number {
  return message.length * 6 + 2 > most ? Math.max(bytes(JSON.stringify(message)) - most, 0) : 0;
}

/** `Ann is typing`, `Ann and Bob are typing`, `Several people are typing`. */
export function whoTypes(users: readonly string[]): string {
  if (users.length > 2) return "Several people are typing";
  return `${users.join(" and ")} ${users.length === 1 ? "is" : "are"} typing`;
}

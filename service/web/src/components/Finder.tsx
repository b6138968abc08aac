/** One field to go anywhere: an open conversation, a room to join or create, a person to write to. */
import { type KeyboardEvent, type RefObject, useState } from "react";
import { nameFault } from "../names.ts";
import { Search } from "./icons.tsx";

interface FinderProps {
  readonly input: RefObject<HTMLInputElement | null>;
  /** Conversations that are there already. */
  readonly known: readonly string[];
  /** Rooms that could be joined. */
  readonly rooms: readonly string[];
  readonly people: readonly string[];
  readonly onShow: (id: string) => void;
}

interface Choice {
  readonly id: string;
  readonly verb: "Go to" | "Join" | "Create" | "Write to";
}

const MOST_SHOWN = 8;

export function Finder({ input, known, rooms, people, onShow }: FinderProps) {
  const [text, setText] = useState("");
  const [focused, setFocused] = useState(false);
  const [at, setAt] = useState(0);
  const wanted = text.trim().toWellFormed();
  const choices = wanted === "" ? [] : choose(wanted, known, rooms, people);
  const fault = wanted === "" ? undefined : nameFault(wanted.replace(/^[@#]/u, ""));
  const open = focused && (choices.length > 0 || fault !== undefined) && wanted.length > 0;
  const go = (choice: Choice | undefined) => {
    if (choice === undefined) return;
    setText("");
    setAt(0);
    input.current?.blur();
    onShow(choice.id);
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : choices.length - 1;
      setAt((at + step) % Math.max(choices.length, 1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      go(choices[Math.min(at, choices.length - 1)]);
    } else if (event.key === "Escape") {
      setText("");
      input.current?.blur();
    }
  };
  return (
    <div className="finder">
      <span className="finder-icon" aria-hidden="true">
        <Search />
      </span>
      <input
        ref={input}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onFocus={() => setFocused(true)}
        onBlur={() => setFocused(false)}
        onKeyDown={pressed}
        placeholder="Join room or @name"
        role="combobox"
        aria-label="Join a room, or write to someone"
        aria-expanded={open}
        aria-controls="finder-list"
        aria-activedescendant={open && choices.length > 0 ? `finder-${at}` : undefined}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
      />
      <kbd className="finder-key" aria-hidden="true">
        Ctrl K
      </kbd>
      {open && (
        <div className="finder-list" id="finder-list" role="listbox" aria-label="Where to">
          {choices.map((choice, index) => (
            <div
              className="finder-choice"
              key={choice.id}
              id={`finder-${index}`}
              role="option"
              aria-selected={index === at}
              onPointerDown={(event) => {
                event.preventDefault();
                go(choice);
              }}
            >
              <span className="finder-verb">{choice.verb}</span>
              <span className="finder-name">{choice.id.startsWith("@") ? choice.id : `#${choice.id}`}</span>
            </div>
          ))}
          {choices.length === 0 && fault !== undefined && <p className="finder-fault">{fault}</p>}
        </div>
      )}
    </div>
  );
}

/** What the text may mean; the likeliest comes first. */
function choose(text: string, known: readonly string[], rooms: readonly string[], people: readonly string[]): Choice[] {
  const name = text.replace(/^[@#]/u, "");
  const matches = (candidate: string) => candidate.toLowerCase().includes(name.toLowerCase());
  const person = text.startsWith("@");
  const room = text.startsWith("#");
  const choices: Choice[] = [];
  const add = (id: string, verb: Choice["verb"]) => {
    if (!choices.some((choice) => choice.id === id)) choices.push({ id, verb });
  };
  for (const id of known) {
    const direct = id.startsWith("@");
    if (direct ? !room && matches(id.slice(1)) : !person && matches(id)) add(id, "Go to");
  }
  if (!person) for (const id of rooms.filter(matches)) add(id, "Join");
  if (!room) for (const user of people.filter(matches)) add(`@${user}`, "Write to");
  const shown = choices.slice(0, MOST_SHOWN);
  if (name !== "" && nameFault(name) === undefined) {
    const id = person ? `@${name}` : name;
    if (!choices.some((choice) => choice.id === id)) shown.push({ id, verb: person ? "Write to" : "Create" });
    // What is written out in full is what is meant.
    shown.sort((a, b) => Number(b.id === id && b.verb !== "Create") - Number(a.id === id && a.verb !== "Create"));
  }
  return shown;
}

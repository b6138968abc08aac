/** Who is in the room now. */
import { Avatar } from "./Avatar.tsx";

interface PresenceListProps {
  readonly users: readonly string[];
  /** May be more than there are names. */
  readonly count: number;
  readonly me: string;
  /** Whether one was put out, or never let in: then nobody asks who is here. */
  readonly outside: boolean;
  readonly onWrite: (user: string) => void;
}

/** More than these are only counted: nobody reads them, and a page should not draw them. */
const MOST_SHOWN = 200;

export function PresenceList({ users, count, me, outside, onWrite }: PresenceListProps) {
  const sorted = users.toSorted((a, b) => Number(b === me) - Number(a === me) || a.localeCompare(b));
  const shown = sorted.slice(0, MOST_SHOWN);
  return (
    <aside className="people" aria-label="People in this room">
      <h2>
        Here now <span className="count">{count > 0 ? count : ""}</span>
      </h2>
      <ul>
        {shown.map((user) => (
          <li key={user}>
            {user === me ? (
              <span className="person">
                <Avatar name={user} size="small" present />
                <span className="person-name">{user}</span>
                <span className="person-you">you</span>
              </span>
            ) : (
              <button type="button" className="person" onClick={() => onWrite(user)} title={`Write to ${user}`}>
                <Avatar name={user} size="small" present />
                <span className="person-name">{user}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
      {outside && <p className="people-more">Join again to see who is here.</p>}
      {count > shown.length && <p className="people-more">and {count - shown.length} more</p>}
    </aside>
  );
}

/** Asks before something is lost. The browser's own modal dialog: it keeps the focus and gives it back, and Escape means no. */
import { type ReactNode, useEffect, useId, useRef } from "react";

interface ConfirmProps {
  readonly title: string;
  readonly children: ReactNode;
  readonly yes: string;
  readonly no: string;
  readonly onYes: () => void;
  readonly onNo: () => void;
}

export function Confirm({ title, children, yes, no, onYes, onNo }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className="confirm" role="alertdialog" aria-labelledby={`${id}title`} aria-describedby={`${id}text`} onClose={onNo}>
      <h2 id={`${id}title`}>{title}</h2>
      <p id={`${id}text`}>{children}</p>
      <div className="confirm-choice">
        <button type="button" className="secondary" onClick={() => dialog.current?.close()}>
          {no}
        </button>
        <button type="button" className="primary" onClick={onYes}>
          {yes}
        </button>
      </div>
    </dialog>
  );
}

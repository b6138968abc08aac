/** Starts the page. */
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";
import { Memory } from "./memory.ts";
import "./styles/base.css";
import "./styles/sidebar.css";
import "./styles/conversation.css";
import "./styles/confirm.css";

const root = document.getElementById("root");
if (root !== null) createRoot(root).render(<App memory={new Memory()} />);

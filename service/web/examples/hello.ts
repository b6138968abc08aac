/** Says hello in a room and prints what others say, until it is stopped: `node examples/hello.ts` with Node.js 24. */
import { Connection } from "../src/client.ts";

const connection = new Connection({ url: "ws://127.0.0.1:8080/ws", token: () => "robot" });

connection.subscribe((event) => {
  if (event.type === "joined") for (const { from, msg } of event.messages) console.log(from, msg);
  if (event.type === "message") console.log(event.message.from, event.message.msg);
  if (event.type === "gap") console.log("(messages may be missing here)");
  if (event.type === "status") console.log("--", event.status.phase);
  if (event.type === "publish") console.log("-- my message is", event.progress.state);
});

connection.join("general", 10);
connection.publish({ room: "general" }, "hello");
connection.start();

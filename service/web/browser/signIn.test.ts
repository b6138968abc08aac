/** Signing in, and doing so again: what a person does when a token has run out. */
import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { stage } from "./rig/scene.ts";
import { DEADLINE } from "./rig/visitor.ts";

const scene = stage();
const secret = "a secret that is long enough for HS256";

/** A token of Ada's that a server takes for so many more seconds: it grants ten after `exp`. */
function token(seconds: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1_000) + seconds - 10;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ada", exp })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

describe("a token that runs out", () => {
  it("is replaced in place, with the messages and what is half written kept", async () => {
    const parley = await scene.parley("server-1", "--auth=token", `--token-secret=${secret}`);
    const ada = await scene.guest(`${parley.url}#token=${token(14)}`, "ada");
    await ada.composer.waitFor();
    await ada.say("hello");
    await ada.sees("hello");
    await ada.composer.fill("half a sen");
    const field = ada.page.getByLabel("Token");
    await field.waitFor();
    await ada.page.getByRole("alert").getByText(/expired/u).waitFor();
    await field.fill(token(600));
    await field.press("Enter");
    await ada.isOn("server-1");
    await ada.sees("hello");
    expect(await ada.composer.inputValue()).toBe("half a sen");
  });

  it("is replaced when it had run out before the page was opened", async () => {
    const parley = await scene.parley("server-1", "--auth=token", `--token-secret=${secret}`);
    const ada = await scene.guest(`${parley.url}#token=${token(-60)}`, "ada");
    await ada.page.getByRole("alert").getByText(/expired/u).waitFor();
    await ada.page.getByLabel("Token").fill(token(600));
    await ada.page.keyboard.press("Enter");
    await ada.composer.waitFor({ timeout: DEADLINE });
  });
});

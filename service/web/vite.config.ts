/** How the page is built. The result is committed in `dist/`, so the same sources must give the same bytes. */
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/**
 * Puts the script and the style into the page itself. While versions change, the next request may reach an instance of
 * another one: a page that asked for files of its own would then stay blank.
 */
function whole(): Plugin {
  return {
    name: "parley-whole-page",
    apply: "build",
    generateBundle: {
      // After the licenses, which are told by what is in the chunks.
      order: "post",
      handler(_, bundle) {
        const page = bundle["index.html"];
        if (page?.type !== "asset") return this.error("there is no page");
        let html = String(page.source);
        const put = (tag: RegExp, path: string, element: string) => {
          const [found, ...more] = html.match(tag) ?? [];
          if (found === undefined || more.length > 0) this.error(`${path} is not loaded just once`);
          // The bundler writes neither; were it to, the browser would take it for markup.
          if (/<!--|<\/script[^>]|<\/style[^>]/iu.test(element)) this.error(`${path} has markup in it`);
          html = html.replace(tag, () => element);
          delete bundle[path];
        };
        for (const [path, file] of Object.entries(bundle)) {
          if (file.type === "chunk") {
            put(/<script [^>]*src="[^"]*"[^>]*><\/script>/gu, path, `<script type="module">${file.code}</script>`);
          } else if (path.endsWith(".css")) {
            put(/<link rel="stylesheet"[^>]*>/gu, path, `<style>${String(file.source)}</style>`);
          }
        }
        page.source = html;
      },
    },
  };
}

export default defineConfig({
  plugins: [react(), whole()],
  // Relative, so that the page also works behind a path of an ingress.
  base: "./",
  build: {
    target: "es2023",
    // Every browser of that target knows module preload; the polyfill would be dead weight.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // The icon, the same for every version.
    rolldownOptions: { output: { assetFileNames: "[name][extname]" } },
    reportCompressedSize: false,
    license: { fileName: "licenses.md" },
  },
  server: {
    // `npm run dev` beside a `cargo run`. The origin is rewritten with the host, since Parley takes pages of its own only.
    proxy: {
      "/ws": { target: "http://127.0.0.1:8080", ws: true, changeOrigin: true, rewriteWsOrigin: true },
      "/instance": { target: "http://127.0.0.1:8080" },
    },
  },
});

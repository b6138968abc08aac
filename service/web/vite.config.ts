/** How the page is built. The result is committed in `dist/`, so the same sources must give the same bytes. */
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Relative, so that the page also works behind a path of an ingress.
  base: "./",
  build: {
    target: "es2023",
    // Every browser of that target knows module preload; the polyfill would be dead weight.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
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

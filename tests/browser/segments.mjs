// Opens a report in headless Chromium, chooses a process, goes through its segments over time, and prints as JSON
// what was seen.
//
//     node segments.mjs CHROMIUM PAGE PID PICTURES
//
// Nothing is judged in here: tests/tests/html_segments.rs does.
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [, , executablePath, file, pid, pictures] = process.argv;
// How slow a machine is decides nothing: milliseconds until something that must happen is given up.
const PATIENCE = 600_000;
// A sandbox needs privileges that containers do not give. The pages are our own.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--force-color-profile=srgb"], timeout: PATIENCE });
const seen = { errors: [] };

/** A picture to look at, for who wants them. */
const picture = async (page, name) => {
  if (process.env.MEMTRACE_TEST_PICTURES) await page.screenshot({ path: `${pictures}-${name}.png`, fullPage: true });
};

async function open(hash, options) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(PATIENCE);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  await page.goto(pathToFileURL(file).href + hash);
  await page.waitForFunction(() => document.documentElement.dataset.ready === "yes" && document.querySelector("#segments .plot svg path"));
  return page;
}

/** The legend: each segment's bytes, and their sum as it says. */
const legend = (page) =>
  page.evaluate(() => {
    const cells = [...document.querySelectorAll("#segments .legend [data-segment]")];
    return {
      rss: Number(document.querySelector("#segments .legend").dataset.bytes),
      held: Object.fromEntries(cells.map((cell) => [cell.dataset.segment, Number(cell.dataset.bytes)])),
    };
  });

const page = await open("");
const plot = page.locator("#segments .plot");
const selected = () => page.locator("#segments select").evaluate((select) => select.selectedOptions[0].textContent);
// By its name in the table of processes; what was chosen before is another one, if there is one.
seen.before = await selected();
await page.locator(`#processes tr[data-pid="${pid}"] th button`).click();
seen.chosen = await selected();
seen.focused = await plot.evaluate((element) => element === document.activeElement);
seen.label = await plot.getAttribute("aria-label");
seen.atPeak = await legend(page);
seen.described = await plot.getAttribute("aria-valuetext");
seen.table = await page.evaluate(() =>
  [...document.querySelectorAll("#segments .grid tbody tr")].map((row) => [
    row.dataset.segment,
    Object.fromEntries([...row.querySelectorAll("[data-key]")].map((cell) => [cell.dataset.key, cell.dataset.value === undefined ? null : Number(cell.dataset.value)])),
  ]),
);
seen.words = await page.locator("#segments .key").textContent();

// The pointer over each column in turn, as far as they differ.
await plot.evaluate((element) => element.scrollIntoView({ block: "center" }));
const box = await plot.boundingBox();
seen.moments = await page.evaluate(() => {
  const plot = document.querySelector("#segments .plot");
  const { left, top, width, height } = plot.getBoundingClientRect();
  const moments = [];
  for (let x = 0; x <= width; x += 1) {
    plot.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: left + x, clientY: top + height / 2 }));
    const cells = [...document.querySelectorAll("#segments .legend [data-segment]")];
    const held = Object.fromEntries(cells.map((cell) => [cell.dataset.segment, Number(cell.dataset.bytes)]));
    const rss = Number(document.querySelector("#segments .legend").dataset.bytes);
    if (moments.length === 0 || JSON.stringify(moments.at(-1).held) !== JSON.stringify(held)) moments.push({ rss, held });
  }
  return moments;
});
// The real pointer, which both drawings follow.
await page.mouse.move(box.x + box.width * 0.5, box.y + box.height / 2);
seen.hovered = await legend(page);
seen.cursors = await page.evaluate(() => [...document.querySelectorAll(".plot .cursor")].filter((cursor) => cursor.getAttribute("d")).length);
await page.mouse.move(5, 5);

// By keys alone; the place is in the address, which shows somebody else the same.
await plot.focus();
await page.keyboard.press("Home");
for (let i = 0; i < 5; i += 1) await page.keyboard.press("ArrowRight");
seen.keyboard = await legend(page);
seen.spoken = await plot.getAttribute("aria-valuetext");
const hash = await page.evaluate(() => location.hash);
await picture(page, "light");
const other = await open(hash, { colorScheme: "dark" });
seen.linked = await legend(other);
await picture(other, "dark");
await other.setViewportSize({ width: 420, height: 900 });
await other.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
seen.overflow = await other.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
await page.keyboard.press("Escape");
seen.escaped = await legend(page);
await browser.close();
process.stdout.write(JSON.stringify(seen));

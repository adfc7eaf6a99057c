// Opens reports in headless Chromium, uses them, and prints as JSON what was seen.
//
//     node drive.mjs CHROMIUM PAGE SCREENSHOTS [PART...]
//
// Without PARTs, all of them are done with the page.
// Nothing is judged in here: tests/tests/html.rs compares with the same run's JSON.
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [, , executablePath, file, screenshots, ...parts] = process.argv;
const url = pathToFileURL(file).href;
const seen = { errors: [], requests: [], dialogs: 0 };
// How slow a machine is decides nothing: milliseconds until something that must happen is given up.
const PATIENCE = 120_000;
// A sandbox needs privileges that containers do not give. The pages are our own.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--force-color-profile=srgb"], timeout: PATIENCE });

/** A picture to look at, for who wants them: drawing whole pages takes a third of the time. */
const picture = async (page, name, options) => {
  if (process.env.MEMTRACE_TEST_PICTURES) await page.screenshot({ path: `${screenshots}-${name}.png`, ...options });
};

async function open(options, hash = "") {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, deviceScaleFactor: 1, ...options });
  context.setDefaultTimeout(PATIENCE);
  context.setDefaultNavigationTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("dialog", (dialog) => {
    seen.dialogs += 1;
    dialog.dismiss();
  });
  page.on("request", (request) => request.url() !== url.split("#")[0] && !request.url().startsWith("data:") && seen.requests.push(request.url()));
  await page.goto(url + hash);
  if (options?.javaScriptEnabled !== false) await page.waitForFunction(() => document.documentElement.dataset.ready === "yes");
  return page;
}

/** The numbers of the panels that answer for a range. */
const answers = (page) =>
  page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    await frame();
    const number = (selector, name) => {
      const found = document.querySelector(selector);
      return found ? Number(found.dataset[name]) : null;
    };
    const all = (selector, name) => [...document.querySelectorAll(selector)].map((element) => Number(element.dataset[name]));
    const more = document.querySelector("#processes .below button");
    for (let i = 0; i < 2 && more && !more.hidden; i += 1) {
      more.click();
      await frame();
    }
    const heads = [...document.querySelectorAll("#processes thead th")].map((head) => head.dataset.key);
    const column = (key) => [...document.querySelectorAll("#processes tbody tr")].map((row) => {
      const value = row.children[heads.indexOf(key)]?.dataset.value;
      return value === undefined ? null : Number(value);
    });
    return {
      hash: location.hash,
      readout: document.querySelector("#readout")?.textContent,
      legend: number("#timeline .legend", "bytes"),
      holdersSum: number("#holders-sum .bytes", "bytes"),
      holders: all("#holders tbody tr:not(.member) .bytes", "bytes"),
      composition: Object.fromEntries([...document.querySelectorAll("#composition [data-kind]")].map((cell) => [cell.dataset.kind, Number(cell.dataset.bytes)])),
      tableSum: number("#table-sum [data-value]", "value"),
      tableRest: number("#table-rest [data-value]", "value"),
      pids: column("pid"),
      peaks: column("peak"),
      held: column("held"),
      growth: all("#growth-sum [data-bytes]", "bytes"),
      pair: all("#pair td[data-bytes]", "bytes"),
    };
  });

/** The sections that are in the markup: what they say of the run. */
const insight = (page) =>
  page.evaluate(() => {
    const rows = (about, names) =>
      [...document.querySelectorAll(`[data-insight=${about}] tr[data-${names[0]}]`)].map((row) => names.map((name) => Number(row.dataset[name])));
    const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
    return {
      program: document.querySelector("[data-insight=parallel] .program")?.textContent,
      each: Number(document.querySelector("[data-insight=parallel] .each")?.dataset.bytes),
      fits: [...document.querySelectorAll("[data-insight=parallel] .fit")].map((fit) => [Number(fit.dataset.bytes), Number(fit.dataset.fit)]),
      levels: rows("parallel", ["count", "ns", "bytes", "held"]),
      spikes: Number(document.querySelector("[data-insight=spikes]")?.dataset.count),
      listed: rows("spikes", ["at", "from", "until", "top", "height"]),
      by: texts("[data-insight=spikes] tr[data-at] td:last-child"),
      sampler: rows("spikes", ["interval", "sure"]),
      facts: texts(".facts > div"),
      footer: texts("footer"),
      sideBySide: [...document.querySelectorAll("[data-insight=peaks] tr[data-line]")].map((row) => [row.dataset.line, ...[...row.querySelectorAll("[data-bytes]")].map((cell) => Number(cell.dataset.bytes))]),
    };
  });

/** The page as it opens. */
async function whole() {
  const started = performance.now();
  const page = await open({});
  seen.loadMs = Math.round(performance.now() - started);
  seen.scriptMs = await page.evaluate(() => Math.round(performance.now()));
  seen.peak = await page.evaluate(() => [...document.querySelectorAll("[data-peak-bytes]")].map((element) => Number(element.dataset.peakBytes)));
  seen.difference = await page.evaluate(() => Number(document.querySelector("#difference")?.dataset.bytes));
  seen.whole = await answers(page);
  seen.insight = await insight(page);
  seen.names = await page.evaluate(() => [...document.querySelectorAll("#processes tbody th")].map((cell) => cell.textContent));
  seen.commands = await page.evaluate(() => [...document.querySelectorAll("#processes tbody .code")].map((cell) => cell.textContent));
  seen.title = await page.title();
  seen.elements = await page.evaluate(() => {
    const count = (selector) => document.querySelectorAll(selector).length;
    return { scripts: count("script"), images: count("img, iframe, object, embed, link[rel=stylesheet]"), styles: count("style") };
  });
  // What runs outside of the drawing area is cut off on paper and hidden on a phone.
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  return page;
}

/** The rows of the tree, each with how many processes it stands for; and the members of the largest. */
async function gantt(page) {
  const rows = () =>
    page.evaluate(() => [...document.querySelectorAll("#tree .treerow")].map((row) => [row.querySelector(".name").textContent, Number(row.querySelector(".chip")?.textContent.slice(1) ?? 1)]));
  seen.gantt = await rows();
  const chips = page.locator("#tree .chip");
  if ((await chips.count()) === 0) return;
  await chips.first().click();
  seen.unfolded = (await rows()).length - seen.gantt.length;
  await chips.first().click();
}

/** A range chosen by keys alone. */
async function keyboard(page) {
  await page.locator(".plot").focus();
  await page.keyboard.press("Home");
  for (let i = 0; i < 3; i += 1) await page.keyboard.press("PageDown");
  for (let i = 0; i < 4; i += 1) await page.keyboard.press("Shift+PageDown");
  seen.keyboard = await answers(page);
  seen.valueText = await page.locator(".plot").getAttribute("aria-valuetext");
  await page.keyboard.press("Enter");
  seen.zoomed = await page.evaluate(() => location.hash);
  // What is outside of the zoom must not be drawn beside the plot. Text has its margins there.
  seen.strays = await page.evaluate(() => {
    const plot = document.querySelector(".plot").getBoundingClientRect();
    const drawn = [...document.querySelectorAll(".plot .mt-plot path, .plot .mt-plot circle, .plot .mt-plot rect")];
    const outside = drawn.filter((shape) => {
      const { left, right, width } = shape.getBoundingClientRect();
      return width > 0 && (left < plot.left - 8 || right > plot.right + 8);
    });
    return outside.map((shape) => shape.getAttribute("class"));
  });
  await picture(page, "range");
  // The link shows the same to somebody else.
  const other = await open({}, seen.keyboard.hash);
  seen.linked = await answers(other);
  await other.context().close();
  // A range within the zoom, and back by the trail.
  await page.keyboard.press("PageDown");
  for (let i = 0; i < 3; i += 1) await page.keyboard.press("Shift+PageDown");
  seen.outer = await page.evaluate(() => location.hash);
  await page.keyboard.press("Enter");
  const crumbs = page.locator(".crumbs button");
  seen.crumbs = await crumbs.allTextContents();
  seen.deeper = await page.evaluate(() => location.hash);
  // In a run of few windows, the range can be all of the zoom; then there is nothing deeper, and Enter goes back.
  if (seen.crumbs.length > 1) await crumbs.last().click();
  seen.back = await page.evaluate(() => location.hash);
  await page.locator(".plot").focus();
  for (let i = 0; i < 3; i += 1) await page.keyboard.press("Escape");
  seen.escaped = await answers(page);
}

/** A range drawn with the mouse, and the cursor under it. */
async function mouse(page) {
  await page.evaluate(() => document.querySelector(".plot").scrollIntoView({ block: "center" }));
  const box = await page.locator(".plot").boundingBox();
  const at = (part) => [box.x + box.width * part, box.y + box.height / 2];
  await page.mouse.move(...at(0.55));
  await page.mouse.down();
  await page.mouse.move(...at(0.6), { steps: 3 });
  await page.mouse.move(...at(0.7), { steps: 3 });
  await page.mouse.up();
  await page.mouse.move(5, 5);
  seen.mouse = await answers(page);
  await page.locator(".plot").focus();
  await page.keyboard.press("Escape");
  // What the cursor is over, without a range.
  await page.mouse.move(...at(0.3));
  const { composition, legend } = await answers(page);
  seen.hovered = { composition, legend };
  await page.mouse.move(5, 5);
}

/** A click on a spike shows it; letters work where nothing has the focus. */
async function links(page) {
  const hash = () => page.evaluate(() => location.hash);
  const spike = page.locator("[data-insight=spikes] .go");
  if ((await spike.count()) > 0) {
    await spike.first().click();
    seen.shown = await hash();
    for (let i = 0; i < 3; i += 1) await page.keyboard.press("Escape");
  }
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("p");
  seen.anywhere = await hash();
  await page.locator(".plot").focus();
  for (let i = 0; i < 3; i += 1) await page.keyboard.press("Escape");
}

/** Sorting, filtering, copying. */
async function table(page) {
  const search = page.locator("#processes input");
  if ((await search.count()) === 0) return;
  const button = page.locator('#processes th[data-key="pid"] button');
  await button.click();
  const pids = () => page.evaluate(() => [...document.querySelectorAll("#processes tbody tr")].map((row) => Number(row.dataset.pid)));
  seen.descending = await pids();
  await button.click();
  seen.ascending = await pids();
  seen.sorted = await page.evaluate(() => document.querySelector('#processes th[data-key="pid"]').getAttribute("aria-sort"));
  await search.fill(String(seen.ascending[0]));
  seen.filtered = await pids();
  await search.fill("");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy as CSV" }).click();
  await page.getByRole("button", { name: /^Copied/ }).waitFor();
  seen.csv = await page.evaluate(() => navigator.clipboard.readText());
}

/** Whether the policy keeps foreign scripts, styles, images and requests out. Makes errors on purpose. */
async function policy() {
  const page = await open({});
  const before = seen.errors.length;
  seen.policy = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "window.injected = true";
    document.body.append(script);
    const holder = document.createElement("div");
    holder.innerHTML = '<img src="x:" onerror="window.injected = true"><p style="color: red" onclick="window.injected = true">x</p>';
    document.body.append(holder);
    holder.querySelector("p").click();
    // The attribute's handler was there first, so it would have run by then.
    await new Promise((resolve) => holder.querySelector("img").addEventListener("error", resolve));
    const reached = await fetch("https://example.invalid/").then(
      () => true,
      () => false,
    );
    return { injected: window.injected === true, reached, styled: getComputedStyle(holder.querySelector("p")).color === "rgb(255, 0, 0)" };
  });
  seen.refused = seen.errors.splice(before).filter((text) => /Content Security Policy/.test(text)).length;
  seen.requests = seen.requests.filter((request) => request !== "x:" && !request.startsWith("https://example.invalid"));
  await page.context().close();
}

/** What a reader without scripts gets. */
async function plain() {
  const page = await open({ javaScriptEnabled: false });
  seen.plain = await page.evaluate(() => ({
    text: document.querySelector("main").innerText,
    drawings: document.querySelectorAll("#static .mt-plot").length,
    rows: document.querySelectorAll("#static section:not(.insight) .grid tbody tr").length,
  }));
  seen.plain.insight = await insight(page);
  await picture(page, "plain", { fullPage: true });
  await page.context().close();
}

/** That nothing sticks out of narrow pages, and paper is white; and pictures to look at. */
async function pictures() {
  const page = await open({ colorScheme: "light", viewport: { width: 420, height: 900 } });
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  seen.overflow = Math.max(seen.overflow, overflow);
  await picture(page, "narrow", { fullPage: true });
  await page.setViewportSize({ width: 1280, height: 900 });
  await picture(page, "light", { fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "dark", { fullPage: true });
  if (process.env.MEMTRACE_TEST_PICTURES) await page.pdf({ path: `${screenshots}-print.pdf`, format: "A4" });
  await page.emulateMedia({ colorScheme: "dark", media: "print" });
  seen.printed = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.context().close();
}

/** Those that use the page as it opens, in this order; then those that open their own. */
const ON_THE_PAGE = { gantt, keyboard, mouse, links, table };
const OF_ITS_OWN = { policy, plain, pictures };
const chosen = (all) => Object.entries(all).filter(([name]) => parts.length === 0 || parts.includes(name));

const page = await whole();
for (const [, part] of chosen(ON_THE_PAGE)) await part(page);
await page.context().close();
for (const [, part] of chosen(OF_ITS_OWN)) await part();
await browser.close();
process.stdout.write(JSON.stringify(seen));

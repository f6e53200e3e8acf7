// The page in a real browser, without a network: starts `tapedeck demo`, fills an hour-long past from a small history
// server of its own, and drives headless Chromium over its debugging pipe. Nothing but node and chromium is needed.
//
//   node tests/scripts/page.mjs target/debug/tapedeck [--full] [--shots DIR]
//
// --full: all venues, all intervals; --shots: screenshots in four forms. Exit code 0 = all checks passed, 3 = skipped.
//
//   chromium --tcp--> relay (cut and mended by the test) --> compactor of the demo
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const args = process.argv.slice(2);
const binary = path.resolve(args[0] ?? "target/debug/tapedeck");
const full = args.includes("--full");
const shots = args.includes("--shots") ? args[args.indexOf("--shots") + 1] : null;
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 120_000);
const VENUE = "binance-usdm";
const PAST_MINUTES = 2_600;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const onExit = [];
let lastLook = async () => {};
let passed = 0;

function check(holds, what) {
  if (!holds) throw new Error(`not true: ${what}`);
  passed++;
  console.log(`  ok  ${what}`);
}

/** Polls until `probe` gives something true. */
async function until(what, probe, ms = PATIENCE_MS) {
  const end = Date.now() + ms;
  let last;
  while (Date.now() < end) {
    try {
      const got = await probe();
      if (got) return got;
      last = got;
    } catch (why) {
      last = why;
    }
    await sleep(50);
  }
  throw new Error(`waited in vain for: ${what} (last: ${last})`);
}

function run(program, list, options = {}) {
  return new Promise((done, fail) => {
    const child = spawn(program, list, { stdio: ["ignore", "pipe", "pipe"], ...options });
    let said = "";
    child.stdout.on("data", (d) => (said += d));
    child.stderr.on("data", (d) => (said += d));
    child.on("error", fail);
    child.on("close", (code) => (code === 0 ? done(said) : fail(new Error(`${program} ${list.join(" ")}: ${code}\n${said}`))));
  });
}

function chromium() {
  const names = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"].filter(Boolean);
  for (const name of names) {
    for (const dir of name.includes("/") ? [""] : (process.env.PATH ?? "").split(":")) {
      const file = path.join(dir, name);
      if (fs.existsSync(file)) return file;
    }
  }
  return null;
}

/** The demo, until it serves candles. */
async function demo(dir) {
  const venues = full ? [] : ["--venues", `${VENUE},kucoin-futures`];
  const child = spawn(binary, ["demo", "--data-dir", dir, ...venues], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (d) => (said = (said + d).slice(-20_000)));
  onExit.push(async () => {
    child.kill("SIGINT");
    await Promise.race([new Promise((done) => child.on("close", done)), sleep(60_000)]);
  });
  const config = path.join(dir, "demo.toml");
  const listen = await until("the demo's configuration", () => {
    if (child.exitCode !== null) throw new Error(said);
    return fs.existsSync(config) && /listen = "127\.0\.0\.1:(\d+)"/.exec(fs.readFileSync(config, "utf8"))?.[1];
  });
  const port = Number(listen);
  await until("the first price", async () => {
    const all = await (await fetch(`http://127.0.0.1:${port}/v1/snapshot?venue=${VENUE}&intervals=1m`)).json();
    return all.klines?.some((k) => k.symbol === "BTCUSDT");
  });
  return { port, config, said: () => said };
}

/** A past that ends where the recording begins, as the venue's REST tells it, stored by `klines backfill`. */
async function past(dir, config, port) {
  const lengths = { "1m": 60_000, "5m": 300_000, "30m": 1_800_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000, "1w": 604_800_000 };
  const open = {};
  const all = await (await fetch(`http://127.0.0.1:${port}/v1/snapshot?venue=${VENUE}`)).json();
  for (const k of all.klines) open[k.symbol] = Math.round(Number(k.open) * 100);
  // One seeded walk per series, backwards from the first price, in hundredths.
  const series = new Map();
  const walk = (symbol, interval, now) => {
    const key = `${symbol} ${interval}`;
    if (series.has(key)) return series.get(key);
    let seed = 7 + symbol.length + interval.charCodeAt(0) * 131 + interval.charCodeAt(1);
    const random = () => ((seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648);
    const length = lengths[interval];
    const base = open[symbol] ?? 6_000_000;
    const step = base * 0.00035 * Math.sqrt(length / 60_000);
    let close = base;
    const bars = [];
    const monday = interval === "1w" ? 345_600_000 : 0;
    let start = Math.floor((now - monday) / length) * length + monday;
    for (let i = 0; i < PAST_MINUTES; i++, start -= length) {
      const from = Math.max(100, Math.round(close + (random() + random() - 1) * step * 1.6));
      const [top, low] = [Math.max(from, close) + random() * step, Math.max(50, Math.min(from, close) - random() * step)];
      const n = 40 + Math.floor((random() ** 4) * 900 + Math.abs(from - close) / step * 60);
      const amount = n * 37;
      const price = (v) => (Math.round(v) / 100).toFixed(2);
      const quote = ((amount * Math.round(close)) / 100_000).toFixed(3);
      bars.push([start, price(from), price(top), price(low), price(close), (amount / 1_000).toFixed(3), start + length - 1,
        quote, n, (amount / 2_000).toFixed(4), (Number(quote) / 2).toFixed(3), "0"]);
      close = from;
    }
    bars.reverse();
    series.set(key, bars);
    return bars;
  };
  const server = http.createServer((request, answer) => {
    const url = new URL(request.url, "http://x");
    const q = Object.fromEntries(url.searchParams);
    answer.setHeader("content-type", "application/json");
    if (!url.pathname.endsWith("/klines")) return void answer.writeHead(404).end("{}");
    const bars = walk(q.symbol, q.interval, Date.now() - 60_000)
      .filter((b) => b[0] >= Number(q.startTime ?? 0) && b[0] <= Number(q.endTime ?? 1e15))
      .slice(0, Number(q.limit ?? 500));
    answer.end(JSON.stringify(bars));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const at = `http://127.0.0.1:${server.address().port}`;
  const text = fs.readFileSync(config, "utf8").split(/(?=^\[venues\.)/m)
    .map((part) => (part.startsWith(`[venues.${VENUE}]`) ? part.replace(/rest_url = .*/, `rest_url = "${at}"`) : part)).join("");
  const own = path.join(dir, "history.toml");
  fs.writeFileSync(own, text);
  const fill = async (intervals, length, symbols) => {
    const from = new Date(Date.now() - length).toISOString().slice(0, 19) + "Z";
    await run(binary, ["klines", "backfill", "--config", own, "--venue", VENUE, "--symbols", symbols, "--interval", intervals, "--from", from]);
  };
  const minute = 60_000;
  await fill("1m", (PAST_MINUTES - 100) * minute, full ? "BTCUSDT,ETHUSDT" : "BTCUSDT");
  await fill("5m", 2_000 * 5 * minute, "BTCUSDT");
  if (full) {
    await fill("30m,1h", 1_000 * 30 * minute, "BTCUSDT");
    await fill("4h,1d", 500 * 240 * minute, "BTCUSDT");
  }
  server.close();
}

/** A compactor that answers only who shows a token; it has recorded nothing. */
async function withToken(dir) {
  fs.mkdirSync(dir, { recursive: true });
  const free = net.createServer();
  await new Promise((done) => free.listen(0, "127.0.0.1", done));
  const { port } = free.address();
  await new Promise((done) => free.close(done));
  const token = "0123456789abcdef-of-the-test";
  fs.writeFileSync(path.join(dir, "token"), token);
  const config = path.join(dir, "tape.toml");
  fs.writeFileSync(config, `[data]\ndir = ${JSON.stringify(dir)}\n[api]\nlisten = "127.0.0.1:${port}"\ntoken_file = ${JSON.stringify(path.join(dir, "token"))}\n`
    + `[venues.${VENUE}]\nsymbols = ["BTCUSDT"]\nchannels = ["trades"]\n`);
  const child = spawn(binary, ["compactor", "--config", config], { stdio: ["ignore", "ignore", "ignore"] });
  onExit.push(async () => {
    child.kill("SIGTERM");
    await Promise.race([new Promise((done) => child.on("close", done)), sleep(20_000)]);
  });
  await until("the locked server", async () => (await fetch(`http://127.0.0.1:${port}/v1/status`)).status === 401);
  return { port, token };
}

/** Everything the browser says goes through here, so that the test can cut it. */
async function relay(port) {
  const open = new Set();
  let broken = false;
  const server = net.createServer((client) => {
    if (broken) return void client.destroy();
    const upstream = net.connect(port, "127.0.0.1");
    for (const [a, b] of [[client, upstream], [upstream, client]]) {
      open.add(a);
      a.pipe(b);
      a.on("error", () => b.destroy());
      a.on("close", () => { open.delete(a); b.destroy(); });
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  onExit.push(() => { server.close(); for (const s of open) s.destroy(); });
  return {
    port: server.address().port,
    cut: () => { broken = true; for (const s of open) s.destroy(); },
    mend: () => { broken = false; },
  };
}

/** Chromium's debugging protocol over two pipes: JSON with a zero byte behind each message. */
async function browse(file, dir) {
  const list = ["--headless=new", "--remote-debugging-pipe", `--user-data-dir=${path.join(dir, "browser")}`, "--no-first-run",
    "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--force-device-scale-factor=1", "--window-size=1280,800", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), "about:blank"];
  const child = spawn(file, list, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  onExit.push(async () => {
    child.kill("SIGTERM");
    await Promise.race([new Promise((done) => child.on("close", done)), sleep(10_000)]);
  });
  const [to, from] = [child.stdio[3], child.stdio[4]];
  to.on("error", () => {});
  const waiting = new Map();
  const hear = [];
  let id = 0;
  let rest = Buffer.alloc(0);
  from.on("data", (d) => {
    rest = Buffer.concat([rest, d]);
    for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
      const m = JSON.parse(rest.subarray(0, end).toString());
      if (m.id) {
        const { done, fail, method } = waiting.get(m.id);
        waiting.delete(m.id);
        if (m.error) fail(new Error(`${method}: ${m.error.message}`));
        else done(m.result);
      } else {
        for (const h of hear) h(m.method, m.params);
      }
    }
  });
  let session;
  const send = (method, params = {}) => new Promise((done, fail) => {
    waiting.set(++id, { done, fail, method });
    to.write(`${JSON.stringify({ id, method, params, ...(session ? { sessionId: session } : {}) })}\0`);
  });
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  for (const domain of ["Runtime", "Network", "Log", "Page"]) await send(`${domain}.enable`);
  return { send, on: (h) => hear.push(h) };
}

async function main() {
  const file = chromium();
  if (!file) {
    console.log("skipped: no chromium");
    process.exitCode = 3;
    return;
  }
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "tapedeck-page-"));
  onExit.unshift(() => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const { port, config, said } = await demo(path.join(dir, "data"));
  check(said().includes(`http://127.0.0.1:${port}/`), "the demo says where the page is");
  const page = await (await fetch(`http://127.0.0.1:${port}/`)).text();
  if (!page.includes("/assets/")) {
    console.log("skipped: the page was not built into this binary");
    process.exitCode = 3;
    return;
  }
  await past(path.join(dir, "data"), config, port);
  const line = await relay(port);
  const host = `127.0.0.1:${line.port}`;
  const { send, on } = await browse(file, dir);

  const errors = [];
  const abroad = [];
  const hosts = new Set([host]);
  let cutting = false;
  on((method, p) => {
    const note = (text) => { if (!cutting) errors.push(text); };
    if (method === "Runtime.exceptionThrown") errors.push(p.exceptionDetails.exception?.description ?? p.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(p.type)) note(JSON.stringify(p.args));
    if (method === "Log.entryAdded" && ["error", "warning"].includes(p.entry.level)) note(`${p.entry.text} ${p.entry.url ?? ""}`);
    const url = method === "Network.requestWillBeSent" ? p.request.url : method === "Network.webSocketCreated" ? p.url : null;
    if (url && !url.startsWith("data:") && url !== "about:blank" && !hosts.has(new URL(url).host)) abroad.push(url);
  });

  lastLook = async () => {
    const { data: png } = await send("Page.captureScreenshot", { format: "png" });
    const place = path.join(shots ?? os.tmpdir(), "page-failed.png");
    fs.writeFileSync(place, Buffer.from(png, "base64"));
    console.error(`as it looked: ${place}`);
  };
  const js = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  };
  const data = () => js(`({ ...document.querySelector("#chart").dataset })`);
  const text = (selector) => js(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`);
  const centre = (selector) => js(`(() => { const r = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
    return { x: r.x + r.width / 2, y: r.y + r.height / 2, width: r.width, height: r.height }; })()`);
  const mouse = (type, x, y, more = {}) => send("Input.dispatchMouseEvent", { type, x, y, button: "left", buttons: type === "mouseReleased" ? 0 : 1, clickCount: 1, ...more });
  const click = async (selector) => {
    await js(`document.querySelector(${JSON.stringify(selector)}).scrollIntoView({ block: "nearest" })`);
    const { x, y } = await centre(selector);
    await mouse("mousePressed", x, y);
    await mouse("mouseReleased", x, y);
  };
  const CODES = { ArrowDown: 40, ArrowUp: 38, ArrowLeft: 37, ArrowRight: 39, Enter: 13, Escape: 27, End: 35, Tab: 9 };
  const key = async (name) => {
    const typed = name.length === 1 ? { text: name } : name === "Enter" ? { text: "\r" } : {};
    await send("Input.dispatchKeyEvent", { type: "keyDown", key: name, windowsVirtualKeyCode: CODES[name] ?? name.toUpperCase().charCodeAt(0), ...typed });
    await send("Input.dispatchKeyEvent", { type: "keyUp", key: name, windowsVirtualKeyCode: CODES[name] ?? name.toUpperCase().charCodeAt(0) });
  };
  const size = (width, height) => send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  const scheme = (value) => send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  const row = (symbol) => `.row[data-key="${VENUE}/${symbol}"]`;
  /** True when the chart has exactly the bars that the server has in that time, each once. */
  const whole = async () => {
    const x = await data();
    const query = new URLSearchParams({ venue: x.venue, symbol: x.symbol, interval: x.interval, start: x.oldest, end: x.newest, limit: 5000 });
    const bars = await (await fetch(`http://127.0.0.1:${port}/v1/klines?${query}`)).json();
    return bars.length === Number(x.bars) && new Set(bars.map((b) => b.open_time)).size === bars.length;
  };
  const ready = (symbol, interval) => until(`the chart of ${symbol} ${interval}`, async () => {
    const d = await data();
    return d.symbol === symbol && d.interval === interval && d.ready === "yes" && Number(d.bars) > 0 && d;
  });

  await size(1280, 800);
  await scheme("dark");
  await send("Page.navigate", { url: `http://${host}/` });

  console.log("symbols");
  await until("prices in the list", () => js(`document.querySelectorAll(".row .num").length > 3 && /\\d/.test(document.querySelector('${row("BTCUSDT")} .num')?.textContent ?? "")`));
  const listed = await (await fetch(`http://127.0.0.1:${port}/v1/symbols`)).json();
  check((await js(`document.querySelectorAll(".row").length`)) === listed.length, `all ${listed.length} symbols are listed`);
  await click(row("ETHUSDT"));
  await ready("ETHUSDT", "1m");
  await click(row("BTCUSDT"));
  const first = await ready("BTCUSDT", "1m");
  check((await js(`document.querySelector('${row("BTCUSDT")}').getAttribute("aria-selected")`)) === "true", "a click chooses a symbol");
  check(Number(first.bars) === 500, `history fills the chart at once: ${first.bars} bars`);

  console.log("prices");
  const shown = await until("the same price in the list, the headline and the API", async () => {
    const bars = await (await fetch(`http://127.0.0.1:${port}/v1/snapshot?venue=${VENUE}&symbols=BTCUSDT&intervals=1d`)).json();
    const list = await text(`${row("BTCUSDT")} .num`);
    return bars.klines[0].close.startsWith(list) && /^0*$/.test(bars.klines[0].close.slice(list.length)) && list;
  });
  check(/^\d+\.\d{1,2}$/.test(shown), `the price is the API's text at the symbol's step: ${shown}`);

  console.log("intervals");
  await click('#intervals [data-interval="5m"]');
  const five = await ready("BTCUSDT", "5m");
  check((await js(`document.querySelector('#intervals [data-interval="5m"]').getAttribute("aria-checked")`)) === "true", "a click chooses an interval");
  check((Number(five.newest) - Number(five.oldest)) % 300_000 === 0 && Number(five.bars) === 500, "its bars are five minutes long");
  await js(`document.querySelector("#chart").focus()`);
  await key("1");
  await ready("BTCUSDT", "1m");
  await key("]");
  await ready("BTCUSDT", "5m");
  await key("[");
  await ready("BTCUSDT", "1m");
  check(true, "number and bracket keys choose intervals");

  console.log("history");
  const area = await centre("#chart");
  let d = await data();
  const before = Number(d.bars);
  // What the chart says of itself, step by step: where it stands when older bars are asked for and when they came.
  await js(`(() => {
    const host = document.querySelector("#chart");
    window.seen = [];
    new MutationObserver(() => {
      const { bars, from, loading } = host.dataset;
      window.seen.push({ bars: Number(bars), from: Number(from), loading });
    }).observe(host, { attributes: true });
  })()`);
  for (let i = 0; i < 200 && Number(d.bars) < before + 1_500; i++) {
    const y = area.y - 40;
    await mouse("mousePressed", area.x - 250, y);
    for (let x = -250; x <= 200; x += 75) await mouse("mouseMoved", area.x + x, y);
    // Still, so that letting go throws nothing.
    await sleep(60);
    await mouse("mouseReleased", area.x + 200, y);
    d = await until("older bars", async () => {
      const now = await data();
      return now.loading !== "yes" && now;
    });
  }
  check(Number(d.bars) >= before + 1_500, `scrolling back loads older bars: ${before} -> ${d.bars}`);
  check(await whole(), "every bar of the server stands once, none is missing");
  const joins = await js(`window.seen.flatMap((x, i, all) => i && x.bars > all[i - 1].bars + 100 ? [[all[i - 1].from, x.from]] : [])`);
  check(joins.length > 0 && joins.every(([a, b]) => Math.abs(a - b) <= 60_000 * 40), `older bars come without moving what is seen: ${JSON.stringify(joins)}`);
  check((await js(`document.querySelector("#newest").hidden`)) === false, "a way back to the newest bar is offered");
  await click("#newest");
  await until("the newest bar", () => js(`document.querySelector("#newest").hidden`));

  console.log("live");
  const changes = Number((await data()).changes ?? 0);
  await until("twenty live changes", async () => Number((await data()).changes) > changes + 20);
  check(true, "changes arrive while one looks");
  const minute = Number((await data()).newest);
  await until("a new bar", async () => Number((await data()).newest) > minute);
  await until("the same bars as the server", whole);
  check(true, "the new bar joins without a hole");

  console.log("panels");
  await until("figures of both services", async () => /MiB|GiB/.test(await text("#wal output")) && /MiB|GiB/.test(await text("#memory output")) && /free/.test(await text("#disk output")));
  check((await js(`document.querySelectorAll("#feeds details").length`)) === (full ? 8 : 2), "every feed has its line");
  await js(`document.querySelector('#feeds details[data-key="${VENUE}"] summary').click()`);
  await until("a feed that opens", async () => /compactor/.test(await text(`#feeds details[data-key="${VENUE}"]`)));
  await js(`document.querySelector('#feeds details[data-key="${VENUE}"] button.all').click()`);
  await until("every stream with its age", () => js(`document.querySelectorAll('#feeds details[data-key="${VENUE}"] .stream').length >= 4`));
  check(/btcusdt@/.test(await text(`#feeds details[data-key="${VENUE}"]`)), "every stream of a feed is named");
  await js(`document.querySelector('#feeds details[data-key="${VENUE}"] button.all').click()`);
  await js(`document.querySelector('#feeds details[data-key="${VENUE}"] summary').click()`);
  const marked = await until("the bar in which recording began", async () => Number(await text("#gaps output")) > 0 && js(`document.querySelector("#gaps button").dataset.time`));
  await click("#gaps button");
  await until("the marked bar", async () => { const at = await data(); return Number(at.from) <= Number(marked) && Number(at.to) >= Number(marked); });
  check(true, "a gap is listed, and a click shows its bar");

  console.log("keys");
  await key("/");
  check((await js(`document.activeElement.id`)) === "filter", "/ goes to the filter");
  for (const c of "ethusdt usdm") await key(c);
  await until("one row", () => js(`document.querySelectorAll(".row").length === 1`));
  await key("Enter");
  await ready("ETHUSDT", "1m");
  await key("/");
  await key("Escape");
  await until("all rows again", () => js(`document.querySelectorAll(".row").length === ${listed.length}`));
  await key("Escape");
  await key("ArrowUp");
  await ready("BTCUSDT", "1m");
  check((await js(`document.activeElement.id`)) === "list", "arrows walk the list");
  await key("?");
  check(await js(`document.querySelector("#keys").open`), "? lists the keys");
  await key("Escape");
  await key("t");
  check((await js(`document.documentElement.dataset.theme`)) === "light", "t switches to light");
  await key("t");
  await js(`localStorage.removeItem("tapedeck.theme"); delete document.documentElement.dataset.theme`);

  if (shots) {
    console.log("screenshots");
    fs.mkdirSync(shots, { recursive: true });
    const shot = async (name) => {
      await sleep(700);
      const { data: png } = await send("Page.captureScreenshot", { format: "png" });
      fs.writeFileSync(path.join(shots, `${name}.png`), Buffer.from(png, "base64"));
      console.log(`      ${name}.png`);
    };
    await mouse("mouseMoved", 5, 5, { button: "none", buttons: 0 });
    for (const light of ["dark", "light"]) {
      await scheme(light);
      for (const [width, height] of [[1280, 800], [400, 800]]) {
        await size(width, height);
        await sleep(300);
        await js(`location.reload()`);
        await sleep(500);
        await ready("BTCUSDT", "1m");
        await until("a stable view", async () => (await text("#link")) === "live" && /\d/.test(await text("#price")) && /[MG]iB/.test(await text("#wal output")));
        await shot(`${light}-${width}`);
        const wide = await js(`document.documentElement.scrollWidth`);
        check(wide <= width, `nothing is wider than ${width}`);
        if (width === 400) {
          await click("#open-list");
          await shot(`${light}-${width}-list`);
          await key("Escape");
          await key("Escape");
          await js(`document.body.classList.remove("listing"); document.querySelector("main").scrollTo(0, 560)`);
          await shot(`${light}-${width}-panels`);
        }
      }
    }
    await size(1280, 800);
    await scheme("dark");
    await js(`location.reload()`);
    await sleep(500);
    await ready("BTCUSDT", "1m");
    await click('#intervals [data-interval="1h"]');
    await ready("BTCUSDT", "1h");
    await js(`document.querySelector("#feeds details summary").click()`);
    await mouse("mouseMoved", 620, 300, { button: "none", buttons: 0 });
    await shot("dark-1280-hour");
    await click('#intervals [data-interval="1m"]');
    await ready("BTCUSDT", "1m");
  }

  console.log("a lost connection");
  cutting = true;
  line.cut();
  await until("the banner", () => js(`!document.querySelector("#banner").hidden`));
  check(/Connection lost/.test(await text("#banner-text")), "a lost connection is said");
  if (shots) {
    const { data: png } = await send("Page.captureScreenshot", { format: "png" });
    fs.writeFileSync(path.join(shots, "dark-1280-lost.png"), Buffer.from(png, "base64"));
  }
  await sleep(1_500);
  line.mend();
  await until("the banner to go", () => js(`document.querySelector("#banner").hidden && document.querySelector("#link").textContent === "live"`));
  const again = Number((await data()).changes ?? 0);
  await until("changes after the loss", async () => Number((await data()).changes) > again + 5);
  await until("the same bars as the server", whole);
  check(true, "it connects again by itself and has every bar");

  console.log("a token");
  const locked = await withToken(path.join(dir, "locked"));
  hosts.add(`127.0.0.1:${locked.port}`);
  await send("Page.navigate", { url: `http://127.0.0.1:${locked.port}/` });
  await until("the question for the token", () => js(`document.querySelector("#ask")?.open`));
  await js(`document.querySelector("#ask-token").focus()`);
  for (const c of "wrong") await key(c);
  await key("Enter");
  await until("the question again", () => js(`document.querySelector("#ask").open && document.querySelector("#ask-token").value === ""`));
  await js(`document.querySelector("#ask-token").focus()`);
  for (const c of locked.token) await key(c);
  await key("Enter");
  await until("an answer", async () => /symbols/.test(await text("#list-foot")) && (await text("#feeds output")) !== "");
  check((await js(`Object.keys(sessionStorage).length === 1 && !JSON.stringify(localStorage).includes("${locked.token}")`)), "a token is asked for until it is right, and kept for the session alone");
  cutting = false;

  await sleep(300);
  check(abroad.length === 0, `nobody else was asked ${abroad.join(" ")}`);
  check(errors.length === 0, `the console is quiet ${errors.join("\n")}`);
  console.log(`${passed} checks passed`);
}

try {
  await main();
} catch (why) {
  console.error(why);
  await lastLook().catch(() => {});
  process.exitCode = 1;
} finally {
  for (const end of onExit.reverse()) await end();
}
process.exit();

// Calls every public market-data method of one JavaScript client through the recorder, changed by nothing but base URLs.
//
// usage: node drive.mjs CLIENT RECORDER_URL TAPEDECK_URL
// CLIENT: ccxt-js, @binance/spot, @binance/derivatives-trading-usds-futures, node-binance-api, binance-api-node
// The packages are looked for in $NODE_DIR/node_modules. Methods are found by looking at the client, as in drive.py.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';

const [, , CLIENT, base, deckUrl] = process.argv;
const BASE = base.replace(/\/$/, ''), DECK = deckUrl.replace(/\/$/, ''), WS = BASE.replace('http', 'ws');
const require = createRequire(`${process.env.NODE_DIR}/package.json`);
const SYMBOL = 'BTCUSDT', PATIENCE = 8000, EVENTS = 3;
const quiet = () => {};
console.warn = console.error = console.info = console.debug = quiet;
const say = console.log.bind(console);
console.log = quiet;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
// A library's error outside of any promise belongs to the call that is under way.
let stray = [];
process.on('unhandledRejection', (why) => stray.push(why));
process.on('uncaughtException', (why) => stray.push(why));

const post = async (path, body) =>
  (await fetch(BASE + path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })).json();
const words = (why) => (why instanceof Error ? `${why.constructor.name}: ${why.message}` : typeof why === 'string' ? why : JSON.stringify(why));

async function call(name, work) {
  stray = [];
  await post('/__begin', { client: CLIENT, call: name, futures: /futures|:USDT/i.test(CLIENT + name) });
  let ok = true, text;
  try {
    let timer;
    const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`nothing in ${PATIENCE + 3000} ms`)), PATIENCE + 3000); });
    const value = await Promise.race([Promise.resolve().then(work), late]).finally(() => clearTimeout(timer));
    text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v)) ?? String(value);
  } catch (why) {
    [ok, text] = [false, words(why)];
  }
  if (ok && stray.length && !/right/.test(text)) text += ` (stray: ${words(stray[0])})`;
  const line = await post('/__end', { ok, text: String(text) });
  say(`${line.verdict.padEnd(7)} ${CLIENT} ${name}: ${line.why.slice(0, 140)}`);
}

/** Waits for some events that `start` hands to its callback. */
async function events(start, stop = quiet) {
  const got = [];
  const handle = await start((...m) => got.push(m));
  const until = Date.now() + PATIENCE;
  while (Date.now() < until && got.length < EVENTS && !stray.length) await sleep(20);
  try { await stop(handle); } catch { /* it is closed already */ }
  if (got.length < EVENTS) throw stray[0] ?? new Error(`${got.length} events in ${PATIENCE} ms`);
  return got[0];
}

const newest = async (futures) => (await (await fetch(`${DECK}/${futures ? 'fapi/v1' : 'api/v3'}/aggTrades?symbol=${SYMBOL}&limit=100`)).json())[0].a;

/** Further arguments of a method of this name: ranges, limits, ids. */
async function variants(name, futures) {
  const now = Date.now();
  if (/kline|candle|ohlcv/i.test(name)) return [['', {}], [' limit', { limit: 2 }], [' range', { startTime: now - 120000, endTime: now }], [' backwards', { startTime: now, endTime: now - 120000 }]];
  if (/agg/i.test(name)) {
    return [['', {}], [' limit', { limit: 7 }], [' range', { startTime: now - 15000, endTime: now - 6000 }],
      [' long range', { startTime: now - 3000000, endTime: now - 6000 }], [' id', { fromId: await newest(futures), limit: 50 }]];
  }
  if (/histor|oldTrades/i.test(name)) return [['', {}], [' id', { fromId: futures ? 5 : await newest(false), limit: 50 }]];
  return [['', {}]];
}

const PRIVATE = /order(?!book)|account|position(?!s?ratio)|balance|margin|leverage|my[A-Z]|transfer|withdraw|deposit|convert|algo|dataStream|user|commission|dust|lending|income|download|delivery|papi|bnb|fee|session|cancel|loan|saving|wallet|rebate|pay|mining|^get(Info|MultiAssets)|savings|sendSigned|sendRequest|capital|apiRest|privateRequest|publicRequest|constructor|quote$|^send|^change|^toggle|listAllConvert|tradfiPerps|allocations|filters|amend|prevented|brackets|symbolConfiguration|rulesIndicators/i;
const methods = (object) => {
  const names = new Set();
  for (let o = object; o && o !== Object.prototype; o = Object.getPrototypeOf(o)) Object.getOwnPropertyNames(o).forEach((n) => names.add(n));
  return [...names].filter((n) => { try { return typeof object[n] === 'function'; } catch { return false; } });
};

// --- ccxt -----------------------------------------------------------------------------------------------------------
function pointCcxt(exchange) {
  const tails = { public: 'api/v3', v1: 'api/v1', private: 'api/v3', sapi: 'sapi/v1', web: '', eapiPublic: 'eapi/v1', dapiPublic: 'dapi/v1', dapiData: 'futures/data',
    fapiPublic: 'fapi/v1', fapiPublicV2: 'fapi/v2', fapiPublicV3: 'fapi/v3', fapiData: 'futures/data' };
  for (const [k, tail] of Object.entries(tails)) exchange.urls.api[k] = `${BASE}/${tail}`;
  const ws = exchange.urls.api.ws;
  if (ws && typeof ws === 'object') {
    // Some versions say linear and inverse, others future and delivery.
    const [spot, futures, inverse] = [`${WS}/stream/ws`, `${WS}/ws`, `${WS}/dstream/ws`];
    Object.assign(ws, { spot, margin: spot, linear: futures, future: futures, inverse, delivery: inverse });
    if (ws['ws-api'] && typeof ws['ws-api'] === 'object') Object.assign(ws['ws-api'], { spot: `${WS}/ws-api/v3`, linear: `${WS}/ws-fapi/v1`, future: `${WS}/ws-fapi/v1` });
  }
}

async function ccxt() {
  const lib = require('ccxt');
  const exchange = new lib.pro.binance({ enableRateLimit: false });
  pointCcxt(exchange);
  await call('loadMarkets', async () => Object.keys(await exchange.loadMarkets()).length);
  const rest = ['Time', 'Status', 'Markets', 'Ticker', 'Tickers', 'OHLCV', 'Trades', 'OrderBook', 'BidsAsks', 'LastPrices', 'MarkPrice', 'MarkPrices', 'MarkOHLCV', 'IndexOHLCV',
    'PremiumIndexOHLCV', 'FundingRate', 'FundingRates', 'FundingRateHistory', 'FundingIntervals', 'OpenInterest', 'OpenInterestHistory', 'LongShortRatioHistory'];
  for (const market of ['BTC/USDT', 'BTC/USDT:USDT']) {
    for (const name of rest.map((n) => `fetch${n}`).filter((n) => exchange[n])) {
      const now = Date.now();
      const lists = /Tickers|LastPrices|BidsAsks|MarkPrices|FundingRates|FundingIntervals/.test(name);
      const given = /OHLCV/.test(name) ? [[market, '1m'], [market, '1m', now - 120000, 5], [market, '15m']]
        : name === 'fetchTrades' ? [[market], [market, now - 15000, 20], [market, now - 3000000, 1000]]
        : lists ? [[[market]], []] : /Time|Status|Markets/.test(name) ? [[]] : [[market]];
      for (const args of given) await call(`${name} ${JSON.stringify(args).slice(0, 40)}`, () => exchange[name](...args));
    }
    const watch = methods(exchange).filter((n) => /^watch[A-Z]|^fetch\w+Ws$/.test(n) && !/My|Balance|Position|Orders|Order(?!Book)|Stock|Currencies/.test(n) && exchange.has[n]);
    for (const name of watch) {
      const args = /OHLCVForSymbols/.test(name) ? [[[market, '1m']]] : /ForSymbols|Tickers|BidsAsks|MarkPrices/.test(name) ? [[market]] : /OHLCV/.test(name) ? [market, '1m'] : [market];
      await call(`${name} ${market}`, async () => {
        // One of its own: streams that were watched before go on.
        const fresh = new lib.pro.binance({ enableRateLimit: false });
        pointCcxt(fresh);
        fresh.setMarkets(exchange.markets);
        // What it wants before it opens a socket that is not encrypted.
        await fresh.loadHttpProxyAgent();
        try {
          let last;
          const until = Date.now() + PATIENCE;
          for (let n = 0; n < (/Ws$/.test(name) ? 1 : EVENTS); n += 1) {
            const late = new Promise((_, no) => { setTimeout(() => no(new Error('nothing in time')), Math.max(1, until - Date.now())); });
            last = await Promise.race([fresh[name](...args), late]);
          }
          return last;
        } finally { await fresh.close(); }
      });
    }
  }
  await exchange.close();
}

// --- the official SDKs ----------------------------------------------------------------------------------------------
async function sdk(futures) {
  const lib = require(CLIENT);
  const Kind = futures ? lib.DerivativesTradingUsdsFutures : lib.Spot;
  const client = new Kind({
    configurationRestAPI: { apiKey: 'k', apiSecret: 's', basePath: BASE, retries: 0 },
    configurationWebsocketAPI: { apiKey: 'k', apiSecret: 's', wsURL: futures ? `${WS}/ws-fapi/v1` : `${WS}/ws-api/v3` },
    configurationWebsocketStreams: { wsURL: WS, reconnectDelay: 100 },
  });
  const given = { symbol: SYMBOL, pair: SYMBOL, interval: '1m', fromId: 5, contractType: 'PERPETUAL', period: '5m', windowSize: '1h', levels: 5, timeZone: '0' };
  for (const name of methods(client.restAPI).filter((n) => !PRIVATE.test(n) || /orderBook|adlRisk/i.test(n))) {
    for (const [what, extra] of await variants(name, futures)) {
      const sent = { ...given, ...extra };
      if (!('fromId' in extra) && !/block/i.test(name)) delete sent.fromId;
      await call(name + what, async () => (await client.restAPI[name](sent)).data());
    }
  }
  let connection;
  await call('connect', async () => { connection = await client.websocketStreams.connect(); await (await client.restAPI[futures ? 'checkServerTime' : 'time']()).data(); return 'connected'; });
  const names = connection ? methods(connection).filter((n) => !/^(on|off|disconnect|isConnected|pingServer|subscribe|unsubscribe|isSubscribed|userData|constructor|websocketBase)$/.test(n)) : [];
  if (connection) await connection.disconnect();
  for (const name of names) {
    await call(`stream ${name}`, async () => {
      const one = await client.websocketStreams.connect({ mode: 'single' });
      const errors = [];
      one.on('message', (text) => { const m = JSON.parse(text); if (m.code !== undefined || m.error) errors.push(text); });
      one.on('error', (why) => errors.push(why));
      try {
        return await events((heard) => {
          const stream = one[name]({ symbol: 'btcusdt', pair: 'btcusdt', interval: '1m', contractType: 'perpetual', windowSize: '1h', levels: 5, updateSpeed: '100ms' });
          stream.on('message', heard);
          const look = setInterval(() => { if (errors.length) { stray.push(errors[0]); clearInterval(look); } }, 20);
          setTimeout(() => clearInterval(look), PATIENCE);
        });
      } finally { await one.disconnect(); }
    });
  }
  await call('ws-api connect', async () => { connection = await client.websocketAPI.connect(); await (await client.restAPI[futures ? 'checkServerTime' : 'time']()).data(); return 'connected'; });
  for (const name of methods(connection).filter((n) => !PRIVATE.test(n) && !/^(on|off|disconnect|isConnected|pingServer|sendMessage|sendSignedMessage|constructor|websocketBase|log\w+|myF.*)$/.test(n) || /^orderBook$/.test(n))) {
    await call(`ws-api ${name}`, async () => (await connection[name]({ symbol: SYMBOL, interval: '1m', windowSize: '1h' })).data);
  }
  await connection.disconnect();
}

// --- node-binance-api -----------------------------------------------------------------------------------------------
async function nodeBinanceApi() {
  const Binance = require('node-binance-api');
  const Kind = Binance.default ?? Binance;
  const binance = new Kind({ log: quiet, reconnect: false, urls: {
    base: `${BASE}/api/`, sapi: `${BASE}/sapi/`, fapi: `${BASE}/fapi/`, dapi: `${BASE}/dapi/`, stream: `${WS}/ws/`, combineStream: `${WS}/stream?streams=`,
    fstream: `${WS}/market/stream?streams=`, fstreamSingle: `${WS}/market/ws/`, dstream: `${WS}/dstream/stream?streams=`, dstreamSingle: `${WS}/dstream/ws/` } });
  const takes = { depth: [SYMBOL], avgPrice: [SYMBOL], prices: [SYMBOL], bookTickers: [SYMBOL], prevDay: [SYMBOL], dailyStats: [SYMBOL], exchangeInfo: [], trades: null, ping: [], time: [],
    recentTrades: [SYMBOL], historicalTrades: [SYMBOL], aggTrades: [SYMBOL], candlesticks: [SYMBOL, '1m'], candles: [SYMBOL, '1m'], systemStatus: [], useServerTime: [] };
  for (const name of process.argv[5] ? [] : methods(binance).filter((n) => Object.hasOwn(takes, n) || (!/Buy|Sell|constructor/.test(n) && /^futures(Ping|Time|Exch|Pric|Daily|Open|Cand|Mark|Trades|Hist|Agg|Liq|Fund|Depth|Quote|BookT|Top|Global|Taker)/.test(n) && !/Stream|Data|Order|Convert|Handler/.test(n)))) {
    if (takes[name] === null) continue;
    const args = takes[name] ?? (/Ping|Time|Exch/.test(name) ? [] : /Cand/.test(name) ? [SYMBOL, '1m'] : [SYMBOL]);
    const ranged = /historical|aggTrades|AggTrades|candl|Cand|HistoricalTrades/.test(name);
    for (const [what, extra] of ranged ? await variants(name, /futures/.test(name)) : [['', {}]]) {
      const given = name === 'historicalTrades' ? [SYMBOL, extra.limit ?? 500, extra.fromId] : Object.keys(extra).length ? [...args, extra] : args;
      await call(name + what, () => binance[name](...given));
    }
  }
  for (const name of process.argv[5] ? [] : ['prices', 'prevDay', 'bookTickers', 'futuresPrices', 'futuresDaily']) await call(`${name} all`, () => binance[name]());
  const sockets = { depthStream: [[SYMBOL]], aggTradesStream: [[SYMBOL]], tradesStream: [[SYMBOL]], candlesticksStream: [[SYMBOL, 'ETHUSDT'], '1m'], bookTickersStream: [SYMBOL], prevDayStream: [[SYMBOL]], chart: null,
    futuresAggTradeStream: [[SYMBOL]], futuresMarkPriceStream: [SYMBOL], futuresLiquidationStream: [SYMBOL], futuresTickerStream: [SYMBOL], futuresMiniTickerStream: [SYMBOL], futuresBookTickerStream: [SYMBOL],
    futuresCandlesticksStream: [[SYMBOL], '1m'], miniTicker: [] };
  if (process.argv[5]) {
    // One socket, for the process that started this one.
    const [name, args] = [process.argv[5], sockets[process.argv[5]]];
    binance[name](...args, (...m) => say(`event ${JSON.stringify(m)}`));
    await sleep(PATIENCE);
    return;
  }
  for (const name of Object.keys(sockets).filter((n) => sockets[n] && typeof binance[n] === 'function')) {
    // The version of today builds some addresses itself, whatever it is told.
    const builtIn = /^futures/.test(name) && binance.getFStreamUrl?.('market');
    if (builtIn && !builtIn.startsWith(WS)) {
      await call(name, () => { throw new Error(`its address is built in: ${builtIn}`); });
      continue;
    }
    // In a process of its own: a refused address is asked for again and again.
    await call(name, () => events((heard) => {
      const child = spawn(process.execPath, [process.argv[1], CLIENT, BASE, DECK, name], { stdio: ['ignore', 'pipe', 'ignore'] });
      child.stdout.on('data', (text) => String(text).split('\n').filter((l) => l.startsWith('event ')).forEach((l) => heard(l)));
      return child;
    }, (child) => child.kill('SIGKILL')));
  }
}

// --- binance-api-node -----------------------------------------------------------------------------------------------
async function binanceApiNode() {
  const make = require('binance-api-node').default;
  const client = make({ apiKey: 'k', apiSecret: 's', httpBase: BASE, httpFutures: BASE, httpDelivery: BASE, wsBase: `${WS}/ws`, wsFutures: `${WS}/market/ws`, wsDelivery: `${WS}/dstream/ws` });
  const rest = Object.keys(client).filter((n) => typeof client[n] === 'function' && /^(ping|time|exchangeInfo|book|aggTrades|candles|trades|tradesHistory|dailyStats|prices|avgPrice|allBookTickers)$|^futures(Ping|Time|Exch|Book|Agg|Mark|Long|Cand|Index|Trades|Daily|Prices|AllBook|Fund|Rpi|SymbolAdl)/.test(n));
  for (const name of rest) {
    const args = /Ping|ping|Time|time/.test(name) ? {} : /exchangeInfo|ExchangeInfo/.test(name) ? {} : /andles/.test(name) ? { symbol: SYMBOL, pair: SYMBOL, interval: '1m' } : { symbol: SYMBOL, period: '5m' };
    for (const [what, extra] of await variants(name, /futures/.test(name))) {
      await call(name + what, () => (Object.keys({ ...args, ...extra }).length ? client[name]({ ...args, ...extra }) : client[name]()));
    }
  }
  for (const name of ['prices', 'dailyStats', 'futuresPrices', 'futuresDailyStats']) await call(`${name} all`, () => client[name]());
  for (const name of Object.keys(client.ws).filter((n) => !/user|User|delivery/.test(n))) {
    const args = /andles/.test(name) ? (/Continuous/.test(name) ? [{ pair: SYMBOL, contractType: 'PERPETUAL', interval: '1m' }, '1m'] : [SYMBOL, '1m']) : /artialDepth/.test(name) ? [{ symbol: SYMBOL, level: 5 }]
      : /^all|All|Deprecated|ContractInfo|futuresAllMark/.test(name) ? [] : /ustomSub/.test(name) ? [['btcusdt@kline_1m']] : [SYMBOL];
    await call(`ws.${name}`, () => events((heard) => client.ws[name](...args, heard), (close) => close({ delay: 0, fastClose: true, keepClosed: true })));
  }
}

const clients = { 'ccxt-js': ccxt, '@binance/spot': () => sdk(false), '@binance/derivatives-trading-usds-futures': () => sdk(true), 'node-binance-api': nodeBinanceApi, 'binance-api-node': binanceApiNode };
await clients[CLIENT]();
process.exit(0);

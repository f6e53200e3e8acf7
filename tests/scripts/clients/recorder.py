"""Between the clients and Tapedeck: hands on what both say, byte for byte, and judges every answer against the simulated exchange.

usage: recorder.py LISTEN_PORT TAPEDECK_URL SIMULATOR_URL TABLE.jsonl

A driver says `POST /__begin {"client","call"}`, makes one call of a client, and says `POST /__end {"ok","text"}`. What went over
the wire in between decides: an answer with HTTP 200 must be what the exchange itself would have said (its trades, candles and
listing are asked of the simulator), a refusal must reach the caller as an error. One line of TABLE.jsonl per call.
"""
import asyncio
import json
import re
import sys
import time
from decimal import Decimal as D
from urllib.parse import parse_qsl, urlsplit

from aiohttp import ClientSession, ClientTimeout, WSMsgType, web

PORT, UPSTREAM, SIM, TABLE = int(sys.argv[1]), sys.argv[2].rstrip("/"), sys.argv[3].rstrip("/"), sys.argv[4]
MARKETS = {"/api/v3": f"{SIM}/binance-spot/api/v3", "/fapi/v1": f"{SIM}/binance-usdm/fapi/v1", "/fapi/v2": f"{SIM}/binance-usdm/fapi/v1"}
METHODS = {"trades.recent": "trades", "trades.historical": "historicalTrades", "trades.aggregate": "aggTrades", "ticker.24hr": "ticker/24hr",
           "ticker.tradingDay": "ticker/tradingDay", "ticker.price": "ticker/price", "ticker.book": "ticker/bookTicker"}
RECORDED = ("BTCUSDT", "ETHUSDT")
# What may have been traded, or be under way, between an answer and the look at the exchange.
LAG_S = 5
# Looked up at the exchange, of those of one call.
EVENTS = 3
# How drivers and clients say that nothing came.
IN_VAIN = re.compile("time-?out|timed out|events in|nothing in|no answer", re.I)
now_ms = lambda: int(time.time() * 1000)


class Wrong(Exception):
    pass


def need(true, why):
    if not true:
        raise Wrong(why)


class Judge:
    def __init__(self):
        self.session = None

    async def sim(self, market, path, **params):
        async with self.session.get(f"{MARKETS[market]}/{path}", params=params, headers={"x-mbx-apikey": "k"}) as r:
            body = await r.json(content_type=None)
            need(r.status == 200, f"the simulator refuses {path} {params}: {body}")
            return body

    async def rest(self, market, path, q, body, us):
        """Raises Wrong for an answer that is not the exchange's; returns what was compared."""
        scale = 1000 if us else 1
        if path == "ping":
            need(body == {}, f"ping says {body}")
        elif path == "time":
            need(abs(body["serverTime"] / scale - now_ms()) < LAG_S * 1000, f"time is {body}")
        elif path == "exchangeInfo":
            await self.info(market, q, body, scale)
        elif path in ("klines", "uiKlines", "continuousKlines"):
            await self.klines(market, q, body, scale)
        elif path in ("aggTrades", "trades", "historicalTrades"):
            await self.trades(market, path, q, body, scale)
        elif path == "ticker/price":
            for one in body if isinstance(body, list) else [body]:
                await self.price(market, one["symbol"], one["price"])
            self.symbols(q, body)
        elif path in ("ticker/24hr", "ticker", "ticker/tradingDay"):
            for one in body if isinstance(body, list) else [body]:
                await self.ticker(market, one, scale)
            self.symbols(q, body)
        else:
            raise Wrong(f"nobody knows what is right for {path}: {str(body)[:80]}")

    def symbols(self, q, body):
        asked = [q["symbol"]] if "symbol" in q else json.loads(q["symbols"]) if "symbols" in q else list(RECORDED)
        got = [one["symbol"] for one in (body if isinstance(body, list) else [body])]
        need(sorted(got) == sorted(asked), f"symbols {got} instead of {asked}")
        need(isinstance(body, list) == ("symbol" not in q), "one object for one symbol, a list otherwise")

    async def info(self, market, q, body, scale):
        need(abs(body["serverTime"] / scale - now_ms()) < LAG_S * 1000, "serverTime")
        truth = {s["symbol"]: s for s in (await self.sim(market, "exchangeInfo"))["symbols"]}
        if market == "/api/v3" or "symbol" not in q:
            self.symbols({k: v for k, v in q.items() if k == "symbols"} if "symbol" not in q else {"symbols": json.dumps([q["symbol"]])}, body["symbols"])
        for entry in body["symbols"]:
            listed = truth[entry["symbol"]]
            for name, value in entry.items():
                if name == "filters":
                    for f in value:
                        need(f in listed["filters"], f"made up: {entry['symbol']} {f}")
                else:
                    need(name in listed and listed[name] == value, f"made up: {entry['symbol']} {name} = {value}, listed {listed.get(name)}")
            need({f["filterType"] for f in entry["filters"]} >= {"PRICE_FILTER", "LOT_SIZE"}, "filters are missing")

    async def klines(self, market, q, rows, scale):
        symbol, interval = q.get("symbol") or q["pair"], q["interval"]
        opens = [r[0] for r in rows]
        need(opens == sorted(set(opens)), "not in order")
        most = min(int(q.get("limit", 500)), 1000 if market == "/api/v3" else 1500)
        need(len(rows) <= most, f"{len(rows)} rows of {most}")
        ms = lambda t: int(t) // 1000 if int(t) >= 10**15 else int(t)
        params = {k: ms(q[k]) for k in ("startTime", "endTime") if k in q}
        if params.get("startTime", 0) > params.get("endTime", 1 << 62):
            return need(rows == [], "rows of a time that ends before it begins")
        truth = await self.sim(market, "klines", symbol=symbol, interval=interval, limit=most, **params)
        known = {r[0]: r for r in truth}
        for row in rows:
            need(len(row) == 12 and row[0] % scale == 0, f"shape {row}")
            open_ms, close_ms = row[0] // scale, row[6] // scale
            have = known.get(open_ms)
            if have is None:
                # A new minute began between the two answers.
                passed = truth and "startTime" not in q and open_ms < truth[0][0]
                need(passed, f"no such candle at the exchange: {row}")
                continue
            need(close_ms == have[6], f"closes at {close_ms}, not {have[6]}")
            if close_ms + LAG_S * 1000 < now_ms():
                same = [D(a) == D(b) for a, b in zip(row[1:6] + row[7:11], have[1:6] + have[7:11])]
                need(all(same), f"{row} is {have} at the exchange")
            else:
                need(D(row[1]) == D(have[1]) and int(row[8]) <= int(have[8]), f"{row} is {have} at the exchange")
        want = [r[0] for r in truth if r[6] + LAG_S * 1000 < now_ms()]
        missing = [t for t in want if t * scale not in opens]
        # The newest of the simulator is newer by what passed meanwhile.
        if len(rows) == most and missing and "startTime" not in q:
            missing = [t for t in missing if t * scale > opens[0]]
        need(not missing, f"candles are missing: {missing[:3]}")

    async def trades(self, market, path, q, rows, scale):
        symbol = q["symbol"]
        agg = path == "aggTrades"
        # Candles of spot are made of single trades here, so that each is its own aggregate.
        source = "aggTrades" if agg and market != "/api/v3" else "historicalTrades"
        name = lambda r: r["a"] if "a" in r else r["id"]
        ids = [name(r) for r in rows]
        need(ids == sorted(set(ids)), "not in order")
        most = min(int(q.get("limit", 500)), 1000)
        newest = await self.sim(market, "aggTrades" if source == "aggTrades" else "trades", symbol=symbol, limit=1000)
        stamp = lambda r: r["T"] if "T" in r else r["time"]
        late = [r for r in newest if stamp(r) > now_ms() - LAG_S * 1000]
        ms = lambda t: int(t) // 1000 if int(t) >= 10**15 else int(t)
        start, end = (ms(q[k]) if k in q else None for k in ("startTime", "endTime"))
        if start is not None and end is not None and start > end:
            return need(rows == [], "trades of a time that ends before it begins")
        if rows:
            truth, at = [], ids[0]
            while len(truth) < len(rows):
                page = await self.sim(market, source, symbol=symbol, fromId=at, limit=min(500, len(rows) - len(truth)))
                if not page:
                    break
                truth += page
                at = name(page[-1]) + 1
            need([name(r) for r in truth] == ids, f"ids {ids[:1]}..{ids[-1:]} ({len(ids)}) are {len(truth)} others at the exchange")
            for ours, theirs in zip(rows, truth):
                price = lambda r: D(r["p"] if "p" in r else r["price"])
                amount = lambda r: D(r["q"] if "q" in r else r["qty"])
                maker = lambda r: r["m"] if "m" in r else r["isBuyerMaker"]
                same = price(ours) == price(theirs) and amount(ours) == amount(theirs) and maker(ours) == maker(theirs)
                need(same and stamp(ours) // scale == stamp(theirs), f"{ours} is {theirs} at the exchange")
        if "fromId" in q:
            first = await self.sim(market, source, symbol=symbol, fromId=q["fromId"], limit=1)
            need(not rows or ids[0] == name(first[0]), f"begins at {ids[:1]}, not at {q['fromId']}")
            need(rows or not first or first[0] in late, "nothing, and there are trades")
        if (start is not None or end is not None) and "fromId" not in q:
            inside = [r for r in newest if (start is None or stamp(r) >= start) and (end is None or stamp(r) <= end)]
            if start is not None and start > stamp(newest[0]):
                expected = [name(r) for r in inside][:most]
                # What is younger than a few seconds may have come behind the answer.
                expected_old = [name(r) for r in inside if r not in late][:most]
                need(ids == expected[: len(ids)] and len(ids) >= len(expected_old), f"{len(ids)} of {len(expected_old)} trades of that time")
        elif "fromId" not in q:
            need(rows and (ids[-1] >= name(newest[-1]) - len(late) - 1), f"the newest is {ids[-1:]}, at the exchange {name(newest[-1])}")
            need(len(rows) == most or ids[0] <= 1, f"{len(rows)} of {most} trades")

    async def price(self, market, symbol, text):
        rows = await self.sim(market, "trades", symbol=symbol, limit=1000)
        need(any(D(r["price"]) == D(text) for r in rows), f"{symbol} is not traded at {text}")

    async def ticker(self, market, one, scale):
        symbol, opened = one["symbol"], one["openTime"] // scale
        bars = await self.sim(market, "klines", symbol=symbol, interval="1m", startTime=opened, limit=1000)
        need(bars and bars[0][0] == opened, f"openTime {opened}, the exchange's first minute is {bars[0][0] if bars else None}")
        count = sum(int(b[8]) for b in bars)
        late = [r for r in await self.sim(market, "trades", symbol=symbol, limit=1000) if r["time"] > now_ms() - LAG_S * 1000]
        need(count - len(late) <= one["count"] <= count, f"count {one['count']}, at the exchange {count}")
        volume = sum(D(b[5]) for b in bars)
        need(volume - sum(D(r["qty"]) for r in late) <= D(one["volume"]) <= volume, f"volume {one['volume']}, at the exchange {volume}")
        need(D(one["openPrice"]) == D(bars[0][1]), f"openPrice {one['openPrice']}, at the exchange {bars[0][1]}")
        need(D(one["highPrice"]) <= max(D(b[2]) for b in bars) and D(one["lowPrice"]) >= min(D(b[3]) for b in bars), "high or low")
        if "priceChange" in one:
            need(D(one["priceChange"]) == D(one["lastPrice"]) - D(one["openPrice"]), "priceChange")
            need(abs(D(one["weightedAvgPrice"]) - D(one["quoteVolume"]) / D(one["volume"])) < D("0.01"), "weightedAvgPrice")
        await self.price(market, symbol, one["lastPrice"])
        if "prevClosePrice" in one:
            before = await self.sim(market, "klines", symbol=symbol, interval="1m", endTime=opened - 1, limit=1)
            need(before and D(before[0][4]) == D(one["prevClosePrice"]), "prevClosePrice")

    async def event(self, seen, m, us):
        """One event of a stream."""
        m = m.get("data", m)
        kind = m["e"]
        need(kind in ("kline", "continuous_kline", "aggTrade", "trade"), f"an event {kind}")
        need(abs(m["E"] / (1000 if us else 1) - now_ms()) < LAG_S * 1000, f"E is {m['E']}")
        if kind in ("kline", "continuous_kline"):
            k = m["k"]
            prices = [D(k[x]) for x in "lohc"]
            need(prices[0] <= min(prices) and prices[2] >= max(prices) and int(k["n"]) >= 0, f"prices {k}")
            need((k["t"] >= 10**15) == us and (k["T"] >= 10**15) == us, f"times {k}")
            key = (m.get("s") or m["ps"], k["i"], kind)
            last = seen.get(key)
            need(last is None or (k["t"], k["n"]) >= last[:2] or k["x"], f"went back: {k} behind {last}")
            seen[key] = max(last or (0, 0), (k["t"], k["n"]))
        else:
            first = m["f"] if kind == "aggTrade" else m["t"]
            key, row = (m["s"], kind), m["a"] if kind == "aggTrade" else m["t"]
            need(key not in seen or row == seen[key] + 1, f"{kind} {row} behind {seen.get(key)}")
            need((m["T"] >= 10**15) == us and first >= 0, f"T is {m['T']}")
            seen[key] = row


    async def of_market(self, futures, m):
        """An event is of the market that the client asks about: both have the same symbols, and other prices."""
        m = m.get("data", m)
        market, us = ("/fapi/v1", False) if futures else ("/api/v3", m["E"] >= 10**15)
        scale = 1000 if us else 1
        if "k" in m:
            k = m["k"]
            rows = await self.sim(market, "klines", symbol=m.get("s") or m["ps"], interval=k["i"], startTime=k["t"] // scale, limit=1)
            need(rows and rows[0][0] == k["t"] // scale and D(rows[0][1]) == D(k["o"]), f"a candle of another market: {k}, there {rows}")
        else:
            row = m["a"] if m["e"] == "aggTrade" else m["t"]
            source = "aggTrades" if futures else "historicalTrades"
            rows = await self.sim(market, source, symbol=m["s"], fromId=row, limit=1)
            need(rows and D(rows[0]["p"] if "p" in rows[0] else rows[0]["price"]) == D(m["p"]), f"a trade of another market: {m}, there {rows}")


judge = Judge()
state = {"call": None, "wire": [], "events": []}


def note(**what):
    state["wire"].append(what)


async def begin(request):
    state.update(call=await request.json(), wire=[], events=[], began=time.time())
    return web.json_response({})


async def end(request):
    said = await request.json()
    # What is under way on sockets that are closing comes first.
    await asyncio.sleep(0.05)
    wire, call = state["wire"], state["call"]
    futures = call.pop("futures", False)
    for event in state["events"][-EVENTS:]:
        try:
            await judge.of_market(futures, event)
        except Wrong as why:
            note(wrong=str(why))
    wrong = [w["wrong"] for w in wire if w.get("wrong")]
    refused = [w["refused"] for w in wire if w.get("refused")]
    right = sum(1 for w in wire if w.get("right"))
    text = said.get("text", "")[:160]
    if wrong:
        verdict, why = "WRONG", wrong[0]
    elif said["ok"] and refused:
        verdict, why = ("WRONG", f"swallows {refused[0]}") if not right else ("right", f"{right} answers; of others it says nothing: {refused[0]}")
    elif said["ok"] and right:
        verdict, why = "right", f"{right} answers or events"
    elif said["ok"]:
        verdict, why = "WRONG", f"nothing was asked, and it says {text}"
    elif refused:
        # Some clients ask a refused address again and again and tell their caller nothing: neither do they at the exchange.
        hidden = IN_VAIN.search(text)
        verdict, why = "error", refused[0] + (" (the client keeps it to itself and gives nothing)" if hidden else "")
    elif wire:
        verdict, why = "WRONG", f"the client fails at a right answer: {text}"
    elif IN_VAIN.search(text):
        # Whoever waits in vain is told nothing.
        verdict, why = "WRONG", f"silence: {text}"
    else:
        verdict, why = "client", text
    line = {**call, "verdict": verdict, "why": why, "s": round(time.time() - state["began"], 2)}
    with open(TABLE, "a") as table:
        table.write(json.dumps(line) + "\n")
    state.update(call=None, wire=[])
    return web.json_response(line)


def split(path):
    for market in MARKETS:
        if path.startswith(market + "/"):
            return market, path[len(market) + 1 :]
    return None, path


async def hand_on(request):
    target = f"{UPSTREAM}{request.raw_path}"
    if request.headers.get("upgrade", "").lower() == "websocket":
        return await socket(request, target)
    headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "accept-encoding", "connection")}
    async with judge.session.request(request.method, target, headers=headers, data=await request.read(), allow_redirects=False) as r:
        raw, status = await r.read(), r.status
        answer = {k: v for k, v in r.headers.items() if k.lower() in ("content-type", "x-mbx-used-weight-1m", "retry-after")}
    await look(request.path, dict(parse_qsl(urlsplit(request.raw_path).query)), status, raw, headers)
    return web.Response(status=status, body=raw, headers=answer)


async def look(path, q, status, raw, headers):
    market, rest = split(path)
    try:
        body = json.loads(raw)
    except ValueError:
        return note(wrong=f"{path}: HTTP {status} and no JSON: {raw[:60]}")
    if status >= 400:
        return note(refused=f"{status} {body.get('code')} {body.get('msg')}")
    if path.startswith("/dapi/v1/"):
        # COIN-M has no symbol here.
        fine = rest.endswith(("ping", "time")) or body.get("symbols") == []
        return note(right=path) if fine else note(wrong=f"{path}: {str(body)[:80]}")
    us = next((v for k, v in headers.items() if k.lower() == "x-mbx-time-unit"), "").upper() == "MICROSECOND"
    try:
        await judge.rest(market, rest, q, body, us)
        note(right=path)
    except Wrong as why:
        note(wrong=f"{path} {q}: {why}")
    except Exception as why:  # a shape that nobody expected
        note(wrong=f"{path} {q}: {type(why).__name__} {why}: {str(body)[:80]}")


async def socket(request, target):
    us = "timeunit=microsecond" in request.raw_path.lower()
    api = request.path.startswith("/ws-")
    try:
        up = await judge.session.ws_connect(target.replace("http", "ws", 1), max_msg_size=0, autoping=True)
    except Exception as why:
        async with judge.session.get(target, headers={**request.headers}) as r:
            raw = await r.read()
        note(refused=f"{getattr(why, 'status', '')} {raw[:160].decode(errors='replace')}")
        return web.Response(status=getattr(why, "status", 502), body=raw)
    down = web.WebSocketResponse(max_msg_size=0, autoping=True)
    await down.prepare(request)
    seen, asked = {}, {}

    async def answer(m):
        if api:
            method, params = asked.get(json.dumps(m.get("id")), (None, {}))
            if m.get("status") != 200:
                error = m.get("error") or {}
                return note(refused=f"{m.get('status')} {error.get('code')} {error.get('msg')}") if error else note(wrong=f"a refusal without a reason: {m}")
            q = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
            prefix = "/api/v3/" if "v3" in request.path else "/fapi/v1/"
            head = {"x-mbx-time-unit": "MICROSECOND"} if us else {}
            return await look(prefix + METHODS.get(method, method), q, 200, json.dumps(m["result"]).encode(), head)
        if "code" in m and "e" not in m:
            return note(refused=f"{m['code']} {m['msg']}")
        if "result" in m and "e" not in m:
            return
        try:
            await judge.event(seen, m, us)
            note(right="event")
            state["events"].append(m)
        except Wrong as why:
            note(wrong=f"{request.raw_path}: {why}")
        except Exception as why:
            note(wrong=f"{request.raw_path}: {type(why).__name__} {why}: {str(m)[:100]}")

    async def upwards():
        async for m in down:
            if m.type == WSMsgType.TEXT:
                if api:
                    said = json.loads(m.data)
                    asked[json.dumps(said.get("id"))] = (said.get("method"), said.get("params") or {})
                await up.send_str(m.data)
        await up.close(code=down.close_code or 1000)

    async def downwards():
        async for m in up:
            if m.type == WSMsgType.TEXT:
                # Judged before it is handed on: the answer of a request is known when its call ends.
                await answer(json.loads(m.data))
                await down.send_str(m.data)
        await down.close(code=up.close_code or 1000)

    ways = [asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        try:
            await asyncio.wait_for(way, 3)
        except Exception:
            pass
    return down


async def main():
    judge.session = ClientSession(timeout=ClientTimeout(total=30))
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/__begin", begin)
    app.router.add_post("/__end", end)
    app.router.add_route("*", "/{rest:.*}", hand_on)
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())

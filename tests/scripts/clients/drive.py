"""Calls every public market-data method of one Python client through the recorder, changed by nothing but base URLs.

usage: drive.py CLIENT RECORDER_URL TAPEDECK_URL
CLIENT: python-binance, binance-connector, binance-futures-connector, binance-sdk-spot, binance-sdk-usds-futures,
        unicorn-binance-rest-api, unicorn-binance-websocket-api, ccxt, ccxt.pro

The methods are found by looking at the client, not listed here; what each is given follows from the names of its parameters.
"""
import asyncio
import inspect
import json
import logging
import re
import subprocess
import sys
import threading
import time
import urllib.request

CLIENT, BASE, DECK = sys.argv[1], sys.argv[2].rstrip("/"), sys.argv[3].rstrip("/")
WS = BASE.replace("http", "ws", 1)
SYMBOL, PATIENCE, EVENTS = "BTCUSDT", 8, 3
logging.disable(logging.CRITICAL)
# What needs an account, or changes one.
PRIVATE = re.compile(
    r"order(?!_?book)|account|position(?!_ratio|s?_?ratio)|balance|margin|leverage|my_|transfer|withdraw|deposit|sub_|convert|algo|listen|user|"
    r"^(coin_)?futures_socket$|isolated|commission|dust|staking|lending|asset_(?!index)|api_key|income|download|loan|gift|fiat|c2c|broker|income|brackets?|adl_q|borrow|portfolio|"
    r"papi|options?_(?!contract)|pm_|bnb_burn|fee|rate_limit|stp|lock|liquidity|(?<!cross_)stock|equity|session|sign(?!al)|logon|stream_get_l|stream_k|stream_c|prevent|allocation|cancel|amend|create|countdown|force"
)


def post(path, body):
    request = urllib.request.Request(BASE + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


def begin(name):
    futures = bool(re.search("futures", CLIENT + name)) or ":USDT" in name
    return {"client": CLIENT, "call": name, "futures": futures}


def call(name, fn):
    post("/__begin", begin(name))
    try:
        value = fn()
        ok, text = True, repr(value)
    except BaseException as why:
        if isinstance(why, KeyboardInterrupt):
            raise
        ok, text = False, f"{type(why).__name__}: {why}"
    line = post("/__end", {"ok": ok, "text": text})
    print(f"{line['verdict']:7} {CLIENT} {name}: {line['why'][:140]}", flush=True)


def deck(path):
    return json.load(urllib.request.urlopen(DECK + path, timeout=10))


def newest_id(futures):
    path = "fapi/v1" if futures else "api/v3"
    return deck(f"/{path}/aggTrades?symbol={SYMBOL}&limit=100")[0]["a"]


def variants(name, futures):
    """Further arguments that a method of this name is called with: ranges, limits, ids."""
    now = int(time.time() * 1000)
    low = name.lower()
    if re.search(r"kline|ohlcv|candle", low):
        yield "", {}
        yield " limit", {"limit": 2}
        yield " range", {"startTime": now - 120_000, "endTime": now}
        yield " backwards", {"startTime": now, "endTime": now - 120_000}
    elif re.search(r"agg(regate|_?trade)|^agg", low):
        yield "", {}
        yield " limit", {"limit": 7}
        yield " range", {"startTime": now - 15_000, "endTime": now - 6_000}
        yield " long range", {"startTime": now - 3_000_000, "endTime": now - 6_000}
        yield " id", {"fromId": newest_id(futures), "limit": 50}
    elif re.search(r"historical_?trades|old_trades", low):
        yield "", {}
        # Single trades of futures are not known where candles are made of aggregates.
        yield " id", {"fromId": newest_id(futures) if not futures else 5, "limit": 50}
    elif re.search(r"ticker|price", low):
        yield "", {}
        yield " all", {"symbol": None}
    else:
        yield "", {}


SNAKE = {"startTime": "start_time", "endTime": "end_time", "fromId": "from_id", "contractType": "contract_type"}


def fill(fn, name, extra):
    """Keyword arguments for `fn`; None when it cannot take what is extra."""
    now = int(time.time() * 1000)
    known = dict(
        symbol=SYMBOL, pair=SYMBOL, interval="1m", contractType="PERPETUAL", contract_type="PERPETUAL", period="5m", limit=20, level=5,
        start_str=str(now - 120_000), windowSize="1h", window_size="1h", streams=["btcusdt@kline_1m"], assets="BTC", asset="BTC",
        symbols=[SYMBOL], speed=100, currency="USDT", klines_type=None, levels="5", time_zone="0",
        timezone="0", underlying="BTCUSDT", expiration_date="261225", from_id=5, fromId=5, apiKey="k",
    )
    parameters = inspect.signature(fn).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {}
    for key, p in parameters.items():
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or key == "self":
            continue
        if key in known and (p.default is p.empty or key in ("symbol", "pair")) and known[key] is not None:
            given[key] = known[key]
    if free and not given:
        low = name.lower()
        given = {"symbol": SYMBOL}
        if "kline" in low:
            given["interval"] = "1m"
        if re.search("continu|index_price_k|basis|delivery", low):
            given = {"pair": SYMBOL, "contractType": "PERPETUAL", "interval": "1m", "period": "5m"}
        if re.search("ratio|hist$|volume$", low):
            given["period"] = "5m"
        if "window" in low:
            given["windowSize"] = "1h"
    for key, value in extra.items():
        key = key if key in parameters or free and not (SNAKE.get(key) in parameters) else SNAKE.get(key, key)
        if key not in parameters and not free:
            return None
        if value is None:
            if key not in given or key in parameters and parameters[key].default is parameters[key].empty:
                return None
            given.pop(key)
        else:
            given[key] = value
    return given


def every(client, methods, futures=lambda name: "futures" in name):
    for name, fn in methods:
        for what, extra in variants(name, futures(name)):
            given = fill(fn, name, extra)
            if given is not None:
                call(name + what, lambda: take(fn(**given)))


def take(value):
    """Generators are read; what waits is waited for."""
    if hasattr(value, "__next__"):
        return [x for x, _ in zip(value, range(50))]
    return value


def public(client, names=None):
    for name, fn in inspect.getmembers(client, callable):
        if not name.startswith("_") and (names is None or names(name, fn)) and not PRIVATE.search(name):
            yield name, fn


async def wait(coroutine):
    return await asyncio.wait_for(coroutine, PATIENCE)


def loudly(got, failed):
    """Waits for some events of a callback."""
    until = time.time() + PATIENCE
    while time.time() < until and len(got) < EVENTS and not failed:
        time.sleep(0.02)
    if len(got) < EVENTS:
        raise RuntimeError(failed[0] if failed else f"{len(got)} events in {PATIENCE} s")
    return got[:EVENTS]


# --- python-binance -------------------------------------------------------------------------------------------------


def python_binance():
    from binance import AsyncClient, BinanceSocketManager, Client

    class Here(Client):
        API_URL, FUTURES_URL, FUTURES_DATA_URL = f"{BASE}/api", f"{BASE}/fapi", f"{BASE}/futures/data"
        FUTURES_COIN_URL, FUTURES_COIN_DATA_URL = f"{BASE}/dapi", f"{BASE}/futures/data"
        OPTIONS_URL, PAPI_URL, MARGIN_API_URL, WEBSITE_URL = f"{BASE}/eapi", f"{BASE}/papi", f"{BASE}/sapi", BASE
        WS_API_URL, WS_FUTURES_URL = f"{WS}/ws-api/v3", f"{WS}/ws-fapi/v1"

    def reads(name, fn):
        try:
            source = inspect.getsource(fn)
        except (TypeError, OSError):
            return False
        writes = r"signed\s*=\s*True|,\s*True\s*[,)]|_post|_delete|_put|\"post\"|\"delete\"|\"put\""
        return bool(re.search(r"_get\(|_request_|_ws_|klines|trade_iter|symbol_info", source)) and not re.search(writes, source)

    client = Here(ping=False)
    every(client, public(client, reads))

    async def sockets():
        client = AsyncClient()
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = manager.FSTREAM_URL = f"{WS}/"
        manager.DSTREAM_URL = f"{WS}/dstream/"
        for name, make in public(manager, lambda name, _: name.endswith("_socket")):
            given = fill(make, name, {})

            async def listen():
                async with make(**given) as stream:
                    return [await_error(await wait(stream.recv())) for _ in range(EVENTS)]

            await asyncio.to_thread(post, "/__begin", begin(name))
            try:
                ok, text = True, repr(await wait(listen()))
            except BaseException as why:
                ok, text = False, f"{type(why).__name__}: {why}"
            line = await asyncio.to_thread(post, "/__end", {"ok": ok, "text": text})
            print(f"{line['verdict']:7} {CLIENT} {name}: {line['why'][:140]}", flush=True)
        await client.close_connection()

    def await_error(message):
        if message.get("e") == "error" or "error" in message:
            raise RuntimeError(str(message))
        return message

    asyncio.run(sockets())


# --- the connectors -------------------------------------------------------------------------------------------------


def streams(make, futures=False):
    """Streams of a client that is told where its messages go."""

    def one(name, **given):
        got, failed = [], []

        def hear(_, text):
            message = json.loads(text)
            if "code" in message or "error" in message:
                failed.append(text)
            elif "result" not in message:
                got.append(message)

        client = make(on_message=hear, on_error=lambda _, why: failed.append(repr(why)))
        try:
            getattr(client, name)(**given)
            return loudly(got, failed)
        finally:
            client.stop()

    kind = make.func if hasattr(make, "func") else make
    for name, fn in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_") or name in ("stop", "ping", "send", "subscribe", "unsubscribe", "list_subscribe", "send_message_to_server", "get_combined_data", "user_data"):
            continue
        given = fill(fn, name, {})
        call(f"stream {name}", lambda: one(name, **given))


def connector():
    import functools

    from binance.spot import Spot
    from binance.websocket.spot.websocket_api import SpotWebsocketAPIClient
    from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

    names = "ping time exchange_info depth trades historical_trades agg_trades klines ui_klines avg_price ticker_24hr trading_day_ticker ticker_price book_ticker rolling_window_ticker".split()
    for client, unit in ((Spot(base_url=BASE), ""), (Spot(base_url=BASE, time_unit="microsecond"), " us")):
        for name in names:
            fn = getattr(client, name)
            for what, extra in variants(name, False):
                given = fill(fn, name, extra)
                if given is not None:
                    call(name + what + unit, lambda: fn(**given))
    for unit in (None, "microsecond"):
        streams(functools.partial(SpotWebsocketStreamClient, stream_url=WS, time_unit=unit))

    def ask(name, given):
        got, failed = [], []
        hear = lambda _, text: (got if json.loads(text).get("status") == 200 else failed).append(text)
        client = SpotWebsocketAPIClient(stream_url=f"{WS}/ws-api/v3", on_message=hear, on_error=lambda _, why: failed.append(repr(why)))
        try:
            getattr(client, name)(**given)
            until = time.time() + PATIENCE
            while time.time() < until and not got and not failed:
                time.sleep(0.02)
            if not got:
                raise RuntimeError(failed[0] if failed else "no answer")
            return got[0]
        finally:
            client.stop()

    for name in "ping_connectivity server_time exchange_info order_book recent_trades historical_trades aggregate_trades klines ui_klines avg_price ticker_24hr ticker ticker_price ticker_book".split():
        fn = getattr(SpotWebsocketAPIClient, name)
        given = fill(fn, name, {})
        given.pop("fromId", None)
        if name in ("ticker", "ticker_24hr", "ticker_price", "ticker_book"):
            given = {"symbol": SYMBOL}
        call(f"ws-api {name}", lambda: ask(name, given))


def futures_connector():
    import functools

    from binance.um_futures import UMFutures
    from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

    client = UMFutures(base_url=BASE, key="k")
    source = inspect.getsource(sys.modules["binance.um_futures.market"])
    names = re.findall(r"^def (\w+)\(", source, re.M)
    every(client, [(n, getattr(client, n)) for n in names], lambda _: True)
    streams(functools.partial(UMFuturesWebsocketClient, stream_url=f"{WS}/market"))


# --- the official SDKs ----------------------------------------------------------------------------------------------


def sdk(futures):
    from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketAPI, ConfigurationWebSocketStreams

    if futures:
        from binance_sdk_derivatives_trading_usds_futures import derivatives_trading_usds_futures as module
        from binance_sdk_derivatives_trading_usds_futures.rest_api.api.market_data_api import MarketDataApi as Market
        from binance_sdk_derivatives_trading_usds_futures.websocket_api.api.market_data_api import MarketDataApi as Ask

        make, general, asks = module.DerivativesTradingUsdsFutures, [], [Ask]
    else:
        from binance_sdk_spot import spot as module
        from binance_sdk_spot.rest_api.api.general_api import GeneralApi
        from binance_sdk_spot.rest_api.api.market_api import MarketApi as Market
        from binance_sdk_spot.websocket_api.api.general_api import GeneralApi as AskGeneral
        from binance_sdk_spot.websocket_api.api.market_api import MarketApi as Ask

        make, general, asks = module.Spot, [GeneralApi], [AskGeneral, Ask]
    api = f"{WS}/ws-fapi/v1" if futures else f"{WS}/ws-api/v3"
    client = make(
        config_rest_api=ConfigurationRestAPI(api_key="k", api_secret="s", base_path=BASE, retries=0),
        config_ws_api=ConfigurationWebSocketAPI(api_key="k", api_secret="s", stream_url=api),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=WS, reconnect_attempts=1, reconnect_delay=100),
    )
    for kind in general + [Market]:
        methods = [n for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")]
        for name in methods:
            fn = getattr(client.rest_api, name)
            for what, extra in variants(name, futures):
                given = fill(fn, name, extra)
                if given is not None:
                    call(name + what, lambda: fn(**given).data())

    async def one(name, work):
        await asyncio.to_thread(post, "/__begin", begin(name))
        try:
            ok, text = True, repr(await asyncio.wait_for(work(), PATIENCE + 4))
        except BaseException as why:
            ok, text = False, f"{type(why).__name__}: {why}"
        line = await asyncio.to_thread(post, "/__end", {"ok": ok, "text": text})
        print(f"{line['verdict']:7} {CLIENT} {name}: {line['why'][:140]}", flush=True)

    async def listen(name, given):
        connection = await client.websocket_streams.create_connection()
        got = []
        try:
            stream = await getattr(connection, name)(**given)
            stream.on("message", lambda data: got.append(data))
            until = time.time() + PATIENCE
            while time.time() < until and len(got) < EVENTS:
                await asyncio.sleep(0.02)
            if len(got) < EVENTS:
                raise RuntimeError(f"{len(got)} events in {PATIENCE} s")
            return got
        finally:
            await connection.close_connection(close_session=True)

    async def ask(name, given):
        connection = await client.websocket_api.create_connection()
        try:
            answer = (await getattr(connection, name)(**given)).data()
            # This client tells errors so.
            if isinstance(answer, dict) and "error" in answer:
                raise RuntimeError(answer["error"])
            return answer
        finally:
            await connection.close_connection(close_session=True)

    async def sockets():
        connection = None
        try:
            connection = await asyncio.wait_for(client.websocket_streams.create_connection(), PATIENCE)
        except BaseException as why:
            await one("create_connection", lambda: failing(why))
            return
        # Its own methods, not those of the sockets below it.
        own = [n for n, f in vars(type(connection)).items() if inspect.isfunction(f) and not n.startswith("_")]
        await connection.close_connection(close_session=True)
        skip = {"ping_server", "subscribe", "unsubscribe", "on", "list_subscribe", "close_connection", "user_data", "create_connection"}
        for name in own:
            if name not in skip:
                given = fill(getattr(connection, name), name, {})
                given.pop("id", None)
                await one(f"stream {name}", lambda: listen(name, given))
        for kind in asks:
            for name, fn in inspect.getmembers(kind, inspect.isfunction):
                if not name.startswith("_"):
                    given = {k: v for k, v in fill(fn, name, {}).items() if k != "id"}
                    await one(f"ws-api {name}", lambda: ask(name, given))

    async def failing(why):
        raise why

    asyncio.run(sockets())


# --- unicorn --------------------------------------------------------------------------------------------------------


def unicorn_rest():
    from unicorn_binance_rest_api import BinanceRestApiManager

    # It sets its addresses by the name of the exchange, and asks one of them at once.
    tails = dict(API_URL="api", FUTURES_URL="fapi", FUTURES_DATA_URL="futures/data", FUTURES_COIN_URL="dapi", FUTURES_COIN_DATA_URL="futures/data", MARGIN_API_URL="sapi", OPTIONS_URL="eapi", PAPI_URL="papi", WEBSITE_URL="")
    at = lambda tail: property(lambda _: f"{BASE}/{tail}", lambda _, value: None)
    Here = type("Here", (BinanceRestApiManager,), {name: at(tail) for name, tail in tails.items()})
    client = Here(exchange="binance.com", warn_on_update=False, disable_colorama=True)
    words = r"^(ping$|get_server|get_exch|get_products|get_symbol|get_order_?book|get_orderbook|get_recent|get_hist|get_agg|get_kl|get_ui|get_avg|get_tick|get_all_tick|aggregate|get_trading_day|futures_(?!coin_)|futures_coin_(ping|time|exch|kl))"
    every(client, public(client, lambda name, _: re.search(words, name) and not re.search("change|place|get_pos|income|comm|multi", name)))


def unicorn_streams():
    """Each in a process of its own: a refused address is asked for again and again, and is not given up on request."""

    def one(exchange, channel, markets, want):
        child = subprocess.Popen([sys.executable, __file__, "unicorn-one", BASE, DECK, exchange, channel, *markets], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        got, refused = [], []

        def read():
            for line in child.stdout:
                (got if line.startswith("event ") else refused).append(line.strip())

        threading.Thread(target=read, daemon=True).start()
        until = time.time() + PATIENCE + 4
        while time.time() < until and not want(got) and not any("rejected" in r for r in refused):
            time.sleep(0.05)
        child.kill()
        child.wait()
        if not want(got):
            raise RuntimeError(next((r for r in refused if "rejected" in r or "code" in r), f"{len(got)} events in time"))
        return got[:EVENTS]

    channels = ["kline_1m", "aggTrade", "trade", "miniTicker", "ticker", "bookTicker", "depth5", "depth", "kline_1h", "avgPrice"]
    some = lambda got: len(got) >= EVENTS
    for exchange in ("binance.com", "binance.com-futures"):
        for channel in channels + (["markPrice", "continuousKline_1m", "forceOrder"] if "futures" in exchange else []):
            market = "btcusdt_perpetual" if channel.startswith("continuous") else "btcusdt"
            call(f"{exchange} {channel}", lambda: one(exchange, channel, [market], some))
    both = lambda got: all(any(s in g for g in got) for s in ("BTCUSDT", "ETHUSDT"))
    call("binance.com kline_1m of three, one unknown", lambda: one("binance.com", "kline_1m", ["btcusdt", "notrecorded", "ethusdt"], both))


def unicorn_one():
    from unicorn_binance_websocket_api import BinanceWebSocketApiManager

    exchange, channel, markets = sys.argv[4], sys.argv[5], sys.argv[6:]

    def hear(data):
        message = json.loads(data) if isinstance(data, str) else data
        print("event" if "code" not in message and "result" not in message else "other", json.dumps(message), flush=True)

    manager = BinanceWebSocketApiManager(exchange=exchange, websocket_base_uri=f"{WS}/", warn_on_update=False, disable_colorama=True)
    manager.create_stream([channel], markets, process_stream_data=hear)
    time.sleep(60)


# --- ccxt -----------------------------------------------------------------------------------------------------------


def point_ccxt(exchange):
    api = exchange.urls["api"]
    tails = dict(
        public="api/v3", v1="api/v1", private="api/v3", sapi="sapi/v1", sapiV2="sapi/v2", sapiV3="sapi/v3", sapiV4="sapi/v4", web="", eapiPublic="eapi/v1",
        dapiPublic="dapi/v1", dapiData="futures/data", fapiPublic="fapi/v1", fapiPublicV2="fapi/v2", fapiPublicV3="fapi/v3", fapiData="futures/data",
    )
    api.update({k: f"{BASE}/{tail}" for k, tail in tails.items()})
    if isinstance(api.get("ws"), dict):
        # Some versions say linear and inverse, others future and delivery.
        futures, spot = f"{WS}/ws", f"{WS}/stream/ws"
        api["ws"].update(spot=spot, margin=spot, linear=futures, future=futures, inverse=f"{WS}/dstream/ws", delivery=f"{WS}/dstream/ws")
        if isinstance(api["ws"].get("ws-api"), dict):
            api["ws"]["ws-api"].update(spot=f"{WS}/ws-api/v3", linear=f"{WS}/ws-fapi/v1", future=f"{WS}/ws-fapi/v1")


METHODS = "time status markets ticker tickers ohlcv trades order_book bids_asks last_prices mark_price mark_prices mark_ohlcv index_ohlcv premium_index_ohlcv funding_rate funding_rates funding_rate_history funding_intervals open_interest open_interest_history long_short_ratio_history l2_order_book".split()


def ccxt_args(name, symbol):
    now = int(time.time() * 1000)
    if name.endswith("ohlcv") or "ohlcv" in name:
        yield "", (symbol, "1m")
        yield " since", (symbol, "1m", now - 120_000, 5)
        yield " 15m", (symbol, "15m")
    elif re.search(r"(fetch|watch)_trades", name):
        yield "", (symbol,)
        yield " since", (symbol, now - 15_000, 20)
        yield " long since", (symbol, now - 3_000_000, 1000)
    elif re.search(r"tickers|last_prices|bids_asks|mark_prices|funding_rates|funding_intervals", name):
        yield "", ([symbol],)
        yield " all", ()
    elif re.search(r"time|status|markets|currencies", name):
        yield "", ()
    else:
        yield "", (symbol,)


def ccxt_rest():
    import ccxt

    exchange = ccxt.binance({"enableRateLimit": False})
    point_ccxt(exchange)
    call("load_markets", lambda: len(exchange.load_markets()))
    for market in ("BTC/USDT", "BTC/USDT:USDT"):
        for name in METHODS:
            fn = getattr(exchange, f"fetch_{name}", None)
            if fn is not None:
                for what, given in ccxt_args(f"fetch_{name}", market):
                    call(f"fetch_{name} {market}{what}", lambda: fn(*given))
        m = exchange.markets.get(market, {})
        call(f"limits of {market}", lambda: check_limits(exchange, m))


def check_limits(exchange, m):
    amount, price = m["limits"]["amount"], m["limits"]["price"]
    assert amount["max"] is None or amount["max"] > amount["min"], amount
    assert price["max"] is None or price["max"] > price["min"], price
    exchange.fetch_time()
    return amount, price, m["precision"]


def ccxt_pro():
    import ccxt.pro

    async def main():
        exchange = ccxt.pro.binance({"enableRateLimit": False})
        point_ccxt(exchange)
        await exchange.load_markets()

        async def one(name, work):
            await asyncio.to_thread(post, "/__begin", begin(name))
            try:
                ok, text = True, repr(await asyncio.wait_for(work(), PATIENCE))
            except BaseException as why:
                ok, text = False, f"{type(why).__name__}: {why}"
            line = await asyncio.to_thread(post, "/__end", {"ok": ok, "text": text})
            print(f"{line['verdict']:7} {CLIENT} {name}: {line['why'][:140]}", flush=True)

        has = lambda n: exchange.has.get(re.sub(r"_([a-z])", lambda m: m[1].upper(), n).replace("Ohlcv", "OHLCV"))
        names = [n for n in dir(exchange) if re.match(r"watch_[a-z_]+$|fetch_[a-z_]+_ws$", n) and has(n) and not re.search("my_|balance|position|orders|order_ws|create|edit|cancel|stock", n)]
        for market in ("BTC/USDT", "BTC/USDT:USDT"):
            for name in names:
                if name.endswith("for_symbols"):
                    given = ([[market, "1m"]],) if "ohlcv" in name else ([market],)
                elif re.search("tickers|bids_asks|mark_prices", name):
                    given = ([market],)
                elif "ohlcv" in name:
                    given = (market, "1m")
                else:
                    given = (market,)

                async def listen():
                    # One of its own: streams that were watched before go on.
                    fresh = ccxt.pro.binance({"enableRateLimit": False})
                    point_ccxt(fresh)
                    fresh.set_markets(exchange.markets)
                    try:
                        return [await getattr(fresh, name)(*given) for _ in range(1 if name.endswith("_ws") else EVENTS)][-1]
                    finally:
                        await fresh.close()

                await one(f"{name} {market}", listen)
        await exchange.close()

    asyncio.run(main())


CLIENTS = {
    "python-binance": python_binance,
    "binance-connector": connector,
    "binance-futures-connector": futures_connector,
    "binance-sdk-spot": lambda: sdk(False),
    "binance-sdk-usds-futures": lambda: sdk(True),
    "unicorn-binance-rest-api": unicorn_rest,
    "unicorn-binance-websocket-api": unicorn_streams,
    "unicorn-one": unicorn_one,
    "ccxt": ccxt_rest,
    "ccxt.pro": ccxt_pro,
}
CLIENTS[CLIENT]()

"""python-binance and ccxt against a running Tapedeck, changed by nothing but base URLs.

usage: binance_clients.py http://127.0.0.1:8080 [SPOT_SYMBOL=BTCUSDT] [USDM_SYMBOL=BTCUSDT]

Each client asks for the time, the listing, candles and one stream of candles, on spot and on USD-M; what it gets
must be whole: times in steps of a minute, prices that fit in each other, the stream going on where REST ended.
"""
import asyncio
import sys

import ccxt
import ccxt.pro
from binance import AsyncClient, BinanceSocketManager, Client
from binance.enums import FuturesType

BASE = sys.argv[1].rstrip("/")
SPOT = sys.argv[2] if len(sys.argv) > 2 else "BTCUSDT"
USDM = sys.argv[3] if len(sys.argv) > 3 else "BTCUSDT"
WS = BASE.replace("http", "ws", 1)
PATIENCE = 60


def check_rows(rows, what):
    assert rows, f"{what}: no rows"
    opens = [int(r[0]) for r in rows]
    assert all(b - a == 60_000 for a, b in zip(opens, opens[1:])), f"{what}: minutes are missing: {opens}"
    for r in rows:
        o, h, l, c = (float(x) for x in r[1:5])
        assert l <= min(o, c) and h >= max(o, c) and l > 0, f"{what}: {r}"
    print(f"ok   {what}: {len(rows)} candles")
    return opens[-1]


def point(client):
    """All that is changed of python-binance."""
    client.API_URL = f"{BASE}/api"
    client.FUTURES_URL = f"{BASE}/fapi"


def python_binance_rest():
    client = Client(ping=False)
    point(client)
    assert client.ping() == {}
    assert client.get_server_time()["serverTime"] > 1_700_000_000_000
    info = client.get_exchange_info()
    assert any(s["symbol"] == SPOT for s in info["symbols"]), "spot listing"
    assert client.get_symbol_info(SPOT)["filters"][0]["filterType"] == "PRICE_FILTER"
    print(f"ok   python-binance exchangeInfo: {len(info['symbols'])} spot symbols")
    rows = client.get_klines(symbol=SPOT, interval=Client.KLINE_INTERVAL_1MINUTE, limit=100)
    check_rows(rows, "python-binance spot klines")
    again = client.get_historical_klines(SPOT, Client.KLINE_INTERVAL_1MINUTE, int(rows[0][0]))
    check_rows(again, "python-binance spot historical klines")
    assert client.get_aggregate_trades(symbol=SPOT, limit=5)
    assert float(client.get_symbol_ticker(symbol=SPOT)["price"]) > 0
    futures = client.futures_exchange_info()
    assert any(s["symbol"] == USDM for s in futures["symbols"]), "USD-M listing"
    assert client.futures_time()["serverTime"] > 1_700_000_000_000
    rows = client.futures_klines(symbol=USDM, interval="1m", limit=100)
    check_rows(rows, "python-binance USD-M klines")
    check_rows(
        client.futures_continuous_klines(pair=USDM, contractType="PERPETUAL", interval="1m", limit=100),
        "python-binance USD-M continuous klines",
    )


async def python_binance_streams():
    client = AsyncClient()
    point(client)
    try:
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = f"{WS}/"
        manager.FSTREAM_URL = f"{WS}/"
        sockets = {
            "spot": manager.kline_socket(SPOT, interval="1m"),
            "spot combined": manager.multiplex_socket([f"{SPOT.lower()}@kline_1m", f"{SPOT.lower()}@aggTrade"]),
            "USD-M": manager.futures_multiplex_socket([f"{USDM.lower()}@kline_1m"]),
        }
        for what, socket in sockets.items():
            async with socket as stream:
                bars, last = 0, (0, 0)
                while bars < 5:
                    message = await asyncio.wait_for(stream.recv(), PATIENCE)
                    data = message.get("data", message)
                    assert data.get("e") != "error", f"{what}: {data}"
                    if data["e"] != "kline":
                        continue
                    bar = data["k"]
                    assert bar["i"] == "1m" and (bar["t"], bar["n"]) >= last, f"{what}: went back: {bar}"
                    last = (bar["t"], bar["n"])
                    bars += 1
            print(f"ok   python-binance {what} @kline_1m: {bars} events")
    finally:
        await client.close_connection()


def point_ccxt(exchange):
    """All that is changed of ccxt."""
    api = exchange.urls["api"]
    api.update(
        public=f"{BASE}/api/v3",
        v1=f"{BASE}/api/v1",
        fapiPublic=f"{BASE}/fapi/v1",
        fapiPublicV2=f"{BASE}/fapi/v2",
        dapiPublic=f"{BASE}/dapi/v1",
    )
    if "ws" in api:
        api["ws"].update(spot=f"{WS}/stream/ws", margin=f"{WS}/stream/ws", linear=f"{WS}/ws")


def ccxt_symbols(exchange):
    spot = next(s for s, m in exchange.markets.items() if m["id"] == SPOT and m["spot"])
    usdm = next(s for s, m in exchange.markets.items() if m["id"] == USDM and m["linear"])
    return spot, usdm


def ccxt_rest():
    exchange = ccxt.binance({"enableRateLimit": False})
    point_ccxt(exchange)
    exchange.load_markets()
    assert exchange.fetch_time() > 1_700_000_000_000
    spot, usdm = ccxt_symbols(exchange)
    print(f"ok   ccxt load_markets: {len(exchange.markets)} markets, {spot} and {usdm}")
    for symbol in (spot, usdm):
        check_rows(exchange.fetch_ohlcv(symbol, "1m", limit=100), f"ccxt {symbol} ohlcv")
        assert exchange.fetch_trades(symbol, limit=5), f"{symbol} trades"
        assert exchange.fetch_ticker(symbol)["last"] > 0
    for symbol, error in (("NOPE", ccxt.BadSymbol), (SPOT, ccxt.BadRequest)):
        try:
            exchange.public_get_klines({"symbol": symbol, "interval": "1m" if symbol == "NOPE" else "7m"})
            raise AssertionError(f"{symbol}: no error")
        except error as err:
            print(f"ok   ccxt understands the refusal: {type(err).__name__}")


async def ccxt_streams():
    exchange = ccxt.pro.binance({"enableRateLimit": False})
    point_ccxt(exchange)
    try:
        await exchange.load_markets()
        for symbol in ccxt_symbols(exchange):
            for _ in range(3):
                bars = await asyncio.wait_for(exchange.watch_ohlcv(symbol, "1m"), PATIENCE)
                assert bars and bars[-1][4] > 0
            print(f"ok   ccxt.pro {symbol} watch_ohlcv: {len(bars)} candles")
    finally:
        await exchange.close()


python_binance_rest()
asyncio.run(python_binance_streams())
ccxt_rest()
asyncio.run(ccxt_streams())
print("all clients are content")

"""python-binance against a recording that is served again, changed by nothing but base URLs.

usage: replay_client.py http://127.0.0.1:9090 [SYMBOL=BTCUSDT]

On spot and on USD-M: the listing, the time (that of the recording), an order book that the client's own depth cache
keeps from the stream, trades whose ids go on one by one, and the trades and candles of REST as far as they were played.
"""
import asyncio
import sys

from binance import AsyncClient, BinanceSocketManager, DepthCacheManager

BASE = sys.argv[1].rstrip("/")
SYMBOL = sys.argv[2] if len(sys.argv) > 2 else "BTCUSDT"
WS = BASE.replace("http", "ws", 1)
PATIENCE = 120
WANTED = 200


def point(client, manager):
    """All that is changed of python-binance."""
    client.API_URL = f"{BASE}/binance-spot/api"
    client.FUTURES_URL = f"{BASE}/binance-usdm/fapi"
    manager.STREAM_URL = f"{WS}/binance-spot/"
    manager.FSTREAM_URL = f"{WS}/binance-usdm/"


async def trades(manager, what, socket):
    ids = []
    async with socket as stream:
        while len(ids) < WANTED:
            message = await asyncio.wait_for(stream.recv(), PATIENCE)
            data = message.get("data", message)
            assert data.get("e") == "trade", f"{what}: {data}"
            ids.append(data["t"])
    holes = sum(b != a + 1 for a, b in zip(ids, ids[1:]))
    assert holes == 0, f"{what}: {holes} holes in {WANTED} ids"
    print(f"ok   python-binance {what} @trade: {WANTED} trades, ids whole from {ids[0]}")
    return ids


async def main():
    client = AsyncClient()
    manager = BinanceSocketManager(client)
    point(client, manager)
    try:
        await client.ping()
        info = await client.get_exchange_info()
        assert any(s["symbol"] == SYMBOL for s in info["symbols"]), "spot listing"
        futures = await client.futures_exchange_info()
        assert any(s["symbol"] == SYMBOL for s in futures["symbols"]), "USD-M listing"
        time = (await client.get_server_time())["serverTime"]
        print(f"ok   python-binance listings: {len(info['symbols'])} spot, {len(futures['symbols'])} USD-M; time {time}")
        book = await client.get_order_book(symbol=SYMBOL, limit=1000)
        assert float(book["bids"][0][0]) < float(book["asks"][0][0])
        print(f"ok   python-binance order book: {len(book['bids'])} bids, id {book['lastUpdateId']}")

        # Playing begins here: one connection after the other would miss the beginning, which is as on the exchange.
        spot = trades(manager, "spot", manager.trade_socket(SYMBOL))
        combined = trades(manager, "spot combined", manager.multiplex_socket([f"{SYMBOL.lower()}@trade"]))
        usdm = trades(manager, "USD-M", manager.futures_multiplex_socket([f"{SYMBOL.lower()}@trade"], category="public"))
        await asyncio.gather(spot, combined, usdm)

        rows = await client.get_recent_trades(symbol=SYMBOL, limit=100)
        assert len(rows) == 100 and all(b["id"] == a["id"] + 1 for a, b in zip(rows, rows[1:])), "recent trades"
        bars = await client.get_klines(symbol=SYMBOL, interval="1m")
        assert bars and sum(b[8] for b in bars) >= 100, "klines"
        print(f"ok   python-binance trades to {rows[-1]['id']} and {len(bars)} candles over REST, as far as played")

        cache = DepthCacheManager(client, symbol=SYMBOL, bm=manager)
        async with cache as depth:
            for _ in range(20):
                known = await asyncio.wait_for(depth.recv(), PATIENCE)
                assert not isinstance(known, dict), f"depth cache: {known}"
                assert known.get_bids()[0][0] < known.get_asks()[0][0], "a crossed book"
        print("ok   python-binance depth cache: 20 updates of a book that is never crossed")
    finally:
        await client.close_connection()


asyncio.run(main())
print("the client is content")

"""Readers that stop reading: what the server's memory grows by, and what the others notice."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket as sockets
import statistics
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection

from server import BenchError, Server, send_frame
from tokens import token

STALLED, OTHERS, PAIRS = 1_000, 50, 5
SENDS_A_SECOND, SECONDS = 50, 6
#: Before that, since a reader has stalled only when its socket is full: until then it is one more who gets everything.
FILLING_SECONDS = 2
TEXT_BYTES = 4_000


def _stall(server: Server, user: str, group: str) -> sockets.socket:
    """Subscribes, and never reads again; its receive buffer is small."""
    at = urlsplit(server.url)
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    raw.connect((at.hostname, at.port))
    key = b64encode(secrets.token_bytes(16)).decode()
    raw.sendall(
        f"GET /v1/ws?replay=none HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token(server.secret, user)}\r\n\r\n".encode()
    )
    if b" 101 " not in raw.recv(512):
        raise BenchError("a socket wasn't opened")
    frame = json.dumps({"event": "subscribe_to_group", "id": "1", "data": {"group_id": group}}).encode()
    mask = secrets.token_bytes(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(frame))
    raw.sendall(bytes([0x81, 0x80 | 126]) + len(frame).to_bytes(2, "big") + mask + masked)
    return raw


async def _listen(socket: ClientConnection, waits: list[tuple[int, float]]) -> None:
    """Notes of each message which it is, and how long it took."""
    async for text in socket:
        if '"group_message"' in text[:60]:
            number, sent = json.loads(text)["data"]["text"].split(" ", 2)[:2]
            waits.append((int(number), time.time() - float(sent)))


async def _run(binary: Path, stalled: int) -> tuple[float, float]:
    """p99 of the deliveries to the others in ms, and the growth of resident memory in MiB."""
    with Server(binary) as server:
        others, slow = [f"o{n}" for n in range(OTHERS)], [f"s{n}" for n in range(STALLED)]
        group = server.group("ann", others + slow)
        listening, waits = [], list[tuple[int, float]]()
        subscribe = json.dumps({"event": "subscribe_to_group", "id": "1", "data": {"group_id": group}})
        for user in others:
            socket = await server.connect(user, "?replay=none")
            await socket.send(subscribe)
            listening.append(asyncio.ensure_future(_listen(socket, waits)))
        raws = [_stall(server, user, group) for user in slow[:stalled]]
        sender = await server.connect("ann", "?replay=none")
        listening.append(asyncio.ensure_future(_listen(sender, [])))
        await asyncio.sleep(1)
        before, begun = server.resident_mib(), time.monotonic()
        peak = before
        for number in range(SENDS_A_SECOND * (FILLING_SECONDS + SECONDS)):
            await asyncio.sleep(max(0.0, begun + number / SENDS_A_SECOND - time.monotonic()))
            await sender.send(send_frame(group, f"{number} {time.time()} {'x' * TEXT_BYTES}"))
            if number % SENDS_A_SECOND == 0:
                peak = max(peak, server.resident_mib())
        await asyncio.sleep(2)
        peak = max(peak, server.resident_mib())
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        for raw in raws:
            raw.close()
        expected = OTHERS * SENDS_A_SECOND * (FILLING_SECONDS + SECONDS)
        if len(waits) != expected:
            raise BenchError(f"{len(waits)} deliveries to the others instead of {expected}")
        measured = [wait for number, wait in waits if number >= SENDS_A_SECOND * FILLING_SECONDS]
        return statistics.quantiles(measured, n=100)[98] * 1e3, peak - before


async def stall(binary: Path) -> None:
    """Interleaved pairs: without stalled readers, and with them."""
    without, with_them, growth = [], [], []
    for pair in range(PAIRS):
        without.append((await _run(binary, 0))[0])
        p99, grown = await _run(binary, STALLED)
        with_them.append(p99)
        growth.append(grown)
        print(f"pair {pair + 1}: p99 {without[-1]:.1f} ms, with {STALLED} stalled {p99:.1f} ms, +{grown:.0f} MiB", flush=True)
    ratios = sorted(b / a for a, b in zip(without, with_them, strict=True))
    print(
        f"p99 of the others: {statistics.median(ratios):.2f} times (median of {PAIRS} pairs, {ratios[0]:.2f} to {ratios[-1]:.2f}); "
        f"resident memory +{statistics.median(growth):.0f} MiB ({min(growth):.0f} to {max(growth):.0f})"
    )

"""Fills a group with messages as fast as the server takes them: a client that makes frames of templates and counts answers."""

from __future__ import annotations

import os
import socket
import struct
import time
from base64 import b64encode
from urllib.parse import urlsplit

from server import BenchError, Server, send_frame
from tokens import token, uuid7

#: Messages on their way, and of these how many are sent in one go.
IN_FLIGHT, AT_ONCE = 1_024, 128
#: How long nothing may be accepted.
WAIT_S = 60.0
#: What is counted: answers by their beginnings, and why a server refuses messages for now. Nobody's text holds any of it.
ACCEPTED, REFUSED, BUSY = b'{"event":"group_message_accepted"', b'{"event":"error"', b'"code":"busy"'
#: After which pause it is asked again.
BUSY_PAUSE_S = 1.0
#: A frame may be cut where one read ends.
OVERLAP = max(map(len, (ACCEPTED, REFUSED, BUSY))) - 1
#: A pong that nobody asked for (RFC 6455, section 5.5.3): so pings, which aren't looked for, are answered.
PONG = b"\x8a\x80\0\0\0\0"


def _open(server: Server, user: str) -> socket.socket:
    """A socket behind its handshake (RFC 6455, section 4.1)."""
    where = urlsplit(server.url)
    lines = [
        "GET /v1/ws?replay=none HTTP/1.1",
        f"Host: {where.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}",
        f"Authorization: Bearer {token(server.secret, user)}",
    ]
    opened = socket.create_connection((where.hostname, where.port), WAIT_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        found = opened.recv(1)  # what follows are frames
        if not found:
            break
        answer += found
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise BenchError(f"no handshake: {answer[:200]!r}")
    return opened


def masked(text: bytes) -> bytes:
    """A text frame as a client sends it (RFC 6455, section 5.2), masked with zeros: as the text is."""
    if not 126 <= len(text) < 1 << 16:
        raise BenchError("a frame of another length than these")
    return struct.pack("!BBH4x", 0x81, 0x80 | 126, len(text)) + text


def count(found: bytes, rest: bytes) -> tuple[int, int, int, bytes]:
    """What was read behind the rest of what was read before: accepted, refused, of these for being busy, and the rest of this."""
    # Only what ends in what was found: the rest was looked at before.
    accepted, refused, busy = ((rest[1 - len(what) :] + found).count(what) for what in (ACCEPTED, REFUSED, BUSY))
    return accepted, refused, busy, (rest + found)[-OVERLAP:]


def fill(server: Server, user: str, group: str, messages: int, text: str) -> None:
    """Sends so many messages, and waits until each is accepted."""
    template = send_frame(group, text).encode()
    made = uuid7()
    at = template.index(b'"client_message_id": "') + len(b'"client_message_id": "')
    begin, number_at = template[:at], len(made) - 12
    end = template[at + len(made) :]
    sent = accepted = refused = busy = 0
    rest, last = b"", time.monotonic()
    with _open(server, user) as client:
        while accepted < messages:
            # Those that it was too busy for are others, later.
            while sent - busy < messages and sent - busy - accepted <= IN_FLIGHT - AT_ONCE:
                some = range(sent, min(messages + busy, sent + AT_ONCE))
                ids = (f"{made[:number_at]}{number:012x}".encode() for number in some)
                client.sendall(PONG + b"".join(masked(begin + one + end) for one in ids))
                sent = some.stop
            if time.monotonic() - last > WAIT_S:
                raise BenchError(f"only {accepted} of {messages} messages were accepted")
            try:
                found = client.recv(1 << 20)
            except TimeoutError:
                continue
            more, no, too_busy, rest = count(found, rest)
            accepted, busy = accepted + more, busy + too_busy
            # Why the last one was refused may be in what comes next.
            if not found or refused > busy:
                raise BenchError(f"refused after {accepted} messages: {found[-300:]!r}")
            refused += no
            if too_busy:
                time.sleep(BUSY_PAUSE_S)
            if more:
                last = time.monotonic()

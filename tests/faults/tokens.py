"""Tokens, ids and the key ring, made here so that the clients depend on nothing of Parley's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import uuid


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def token(secret: str, user: str, ttl_s: int = 6 * 3600) -> str:
    """A JWT (HS256) for a user."""
    claims = {"sub": user, "exp": int(time.time()) + ttl_s}
    header = b'{"alg":"HS256","typ":"JWT"}'
    signed = f"{_part(header)}.{_part(json.dumps(claims).encode())}"
    return f"{signed}.{_part(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def uuid7() -> str:
    """A UUIDv7."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))

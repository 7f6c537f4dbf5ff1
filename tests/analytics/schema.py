"""The events' protobuf classes, generated at run time from the published schema; nothing generated is kept."""

from __future__ import annotations

import importlib
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
EVENTS = "parley/events/v1/events.proto"
PACKAGE = "parley.events.v1."


@cache
def events_module() -> ModuleType:
    """The module generated from `events.proto`."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory(prefix="parley-schema-") as folder:
        code = protoc.main(["protoc", f"-I{SCHEMAS}", f"--python_out={folder}", EVENTS])
        if code != 0:
            raise RuntimeError(f"protoc failed on {EVENTS} with {code}")
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("parley.events.v1.events_pb2")
        finally:
            sys.path.remove(folder)


def decode(ce_type: str, value: bytes) -> Any | None:  # noqa: ANN401 - generated classes have no types
    """The message that a record's value is; `None` for a type that this schema doesn't know (skip it)."""
    name = ce_type.removeprefix(PACKAGE)
    kind = getattr(events_module(), name, None) if ce_type.startswith(PACKAGE) else None
    if kind is None:
        return None
    message = kind()
    message.ParseFromString(value)
    return message

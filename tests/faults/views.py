"""What REST says of a group once all is quiet."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from history import Entry, text_hash
from rest import Rest

#: Messages of a group whose statuses are looked at: the newest, and some others.
NEWEST, OTHERS = 3, 3


@dataclass
class GroupView:
    """One group, as a member sees it who was in it from the start."""

    group: str
    edge: str
    body: Entry
    members: list[Entry]
    messages: list[Entry]
    #: message id -> all pages of its status together
    statuses: dict[str, Entry] = field(default_factory=dict)


async def _pages(rest: Rest, path: str, what: str) -> tuple[list[Entry], Entry]:
    """All rows of a paged list, and the last page."""
    rows: list[Entry] = []
    cursor = ""
    while True:
        page: dict[str, Any] = await rest.call("GET", f"{path}?limit=200{cursor}")
        rows += page[what]
        if not page.get("next_cursor"):
            return rows, page
        cursor = f"&cursor={page['next_cursor']}"


async def _messages(rest: Rest, group: str) -> list[Entry]:
    messages: list[Entry] = []
    while True:
        after = messages[-1]["seq"] if messages else 0
        page = await rest.call("GET", f"/groups/{group}/messages?after_seq={after}&limit=200")
        messages += page["messages"]
        if not page["has_more"]:
            break
    for message in messages:
        # Texts are compared by their hash, and kept nowhere.
        text = message.pop("text", None)
        message["h"] = None if text is None else text_hash(text)
    return messages


async def view_group(rest: Rest, group: str) -> GroupView:
    """Reads everything of a group at one edge."""
    body = await rest.call("GET", f"/groups/{group}")
    members, _ = await _pages(rest, f"/groups/{group}/members", "members")
    view = GroupView(group, rest.edges[0], body, members, await _messages(rest, group))
    chosen = view.messages[-NEWEST:] + random.sample(view.messages, min(OTHERS, len(view.messages)))
    paths = [f"/groups/{group}/messages/{message['message_id']}/status" for message in chosen]
    pages = await asyncio.gather(*(_pages(rest, path, "statuses") for path in paths))
    for message, (rows, page) in zip(chosen, pages, strict=True):
        view.statuses[message["message_id"]] = {**page, "statuses": rows}
    return view

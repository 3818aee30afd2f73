"""A diff as one page that needs no other file and no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxcompress.inspect.diff import GraphDiff


def diff_page(diff: GraphDiff) -> str:
    return f"<!doctype html><html><body><pre>{escape(str(diff))}</pre></body></html>"

"""A report as one page that needs no other file and no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxcompress.inspect.report import Report


def report_page(report: Report) -> str:
    return f"<!doctype html><html><body><pre>{escape(str(report))}</pre></body></html>"

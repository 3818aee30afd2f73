"""HTML put together so that no name, text or number in it can become markup by accident."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from fxcompress.inspect.rows import printable

EMPTY = ("meta", "wbr")
# Nothing is loaded and nothing runs; the style sheet stands in the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Markup(str):
    """Text that is markup already; any other text is escaped where it is put in."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str | bool) -> Markup:
    """Return an element with `content`, escaped unless it is markup.

    Attributes are given by keyword: `class_` stands for `class`, `data_label` for `data-label`; one that is False or
    empty is left out, one that is True has no value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not False and value != "")
    return Markup(f"<{name}{given}>" if name in EMPTY else f"<{name}{given}>{join(content)}</{name}>")


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value)))}"'


def join(content: Iterable[str]) -> Markup:
    """Return parts one after the other, those that are not markup escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(printable(part)) for part in content))


def breakable(path: str) -> Markup:
    """Return a dotted path that a line may end in behind every dot."""
    words = path.split(".")
    return join([*(part for word in words[:-1] for part in (f"{word}.", element("wbr"))), words[-1]])


def page(title: str, *content: str) -> str:
    """Return a whole document with the style sheet in it."""
    style = files("fxcompress.inspect").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', element('main', *content)), lang='en')}\n"


def section(title: str, *content: str) -> Markup:
    """Return a part of a page under a heading; nothing where there is no content."""
    return element("section", element("h2", title), *content) if any(content) else Markup()


def table(headers: Iterable[str], rows: Iterable[Iterable[str]], class_: str = "") -> Markup:
    """Return a table whose cells know the header of their column, so that they can be stacked on a narrow screen.

    The first cell of a row is its header. A header that ends in `>` has its column set to the right.
    """
    names = list(headers)
    titles = [name.removesuffix(">") for name in names]
    sides = ["figure" if name.endswith(">") else "" for name in names]
    head = element(
        "tr", *(element("th", title, scope="col", class_=side) for title, side in zip(titles, sides, strict=True))
    )
    body = []
    for row in rows:
        first, *rest = row
        cells = [
            element("td", cell, class_=side, data_label=title)
            for cell, title, side in zip(rest, titles[1:], sides[1:], strict=True)
        ]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", *body), class_=class_)

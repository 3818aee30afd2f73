"""A diff as one page that needs no other file and no network: totals, sizes by module, two graphs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from fxcompress.inspect.as_text import TOP, parameter_remarks, same_word
from fxcompress.inspect.entries import Comparison, Entry
from fxcompress.inspect.markup import Markup, breakable, element, join, page, section, table
from fxcompress.inspect.modules import Module, modules_of
from fxcompress.inspect.rows import Row, argument_text
from fxcompress.inspect.units import Unit, quantity, ratio_text
from fxcompress.text import plural

# Unchanged rows that are shown on either side of a change, and the fewest that are worth folding away.
CONTEXT = 1
LEAST_FOLDED = 3
# Modules whose bars are shown at once; the smaller ones are folded away.
MOST_BARS = 24
# Arguments up to this many characters are not broken at the end of a line.
LONGEST_WHOLE = 32

CLASSES = {"=": "same", "~": "changed", "-": "removed", "+": "added"}


def diff_page(diff: Comparison) -> str:
    """Return the whole page."""
    names = diff.before.label or "before", diff.after.label or "after"
    return page(
        f"{names[0]} -> {names[1]}",
        element("header", element("h1", names[0], element("span", " → ", class_="arrow"), names[1]), _counts(diff)),
        _totals(diff),
        section("Bytes by module", bars(diff)),
        section("Graph", graph(diff)),
    )


def _counts(diff: Comparison) -> Markup:
    counts = ((diff.removed, "removed"), (diff.added, "added"), (diff.changed, "changed"))
    words = [element("span", f"{count:,} {word}", class_=f"count {word}") for count, word in counts if count]
    line = element("p", *words, class_="counts") if words else element("p", "No change.", class_="counts")
    return join([line, *(element("p", remark, class_="remark") for remark in diff.remarks)])


def _totals(diff: Comparison) -> Markup:
    a, b = diff.before, diff.after
    figures: tuple[tuple[str, Unit, int, int], ...] = (
        ("nodes", "count", a.nodes, b.nodes),
        ("parameters", "count", a.parameters, b.parameters),
        ("bytes", "bytes", a.bytes, b.bytes),
    )
    rows = ([name, quantity(x, unit), quantity(y, unit), ratio_text(x, y)] for name, unit, x, y in figures)
    return table(["", "before>", "after>", "ratio>"], rows, class_="totals")


def bars(diff: Comparison) -> Markup:
    """Return two bars for every module with tensors: their bytes before and after, on one scale."""
    modules = [module for module in modules_of(diff).counts() if module.before[1] or module.after[1]]
    if not modules:
        return Markup()
    most = max(max(module.before[1], module.after[1]) for module in modules)
    large = {m.path for m in sorted(modules, key=lambda m: -max(m.before[1], m.after[1]))[:MOST_BARS]}
    shown, folded = ([m for m in modules if (m.path in large) is wanted] for wanted in (True, False))
    parts = [legend(), element("div", *(_bar_row(module, most) for module in shown), class_="bars")]
    if folded:
        summary = element("summary", f"{plural(len(folded), 'smaller module')}")
        parts.append(element("details", summary, element("div", *(_bar_row(m, most) for m in folded), class_="bars")))
    return join(parts)


def _bar_row(module: Module, most: int) -> Markup:
    before, after = module.before[1], module.after[1]
    figures = [quantity(before, "bytes")] + ([f" → {quantity(after, 'bytes')}"] if before != after else [])
    return element(
        "div",
        element("span", breakable(module.path or TOP), class_="module"),
        bar_pair(before, after, most),
        element("span", *figures, class_="figure"),
        class_="bar-row",
    )


def legend() -> Markup:
    """Return what the two bars of a pair stand for."""
    sides = (element("span", element("span", class_=f"bar {side}"), side) for side in ("before", "after"))
    return element("p", *sides, class_="legend", aria_hidden="true")


def bar_pair(before: float | None, after: float | None, most: float) -> Markup:
    """Return a bar for each of two figures on the scale of the largest; the figures stand beside them as text."""
    lines = [
        element("span", class_=f"bar {side}", style=f"width:{100 * (value or 0) / most if most else 0:.2f}%")
        for side, value in (("before", before), ("after", after))
        if before or after
    ]
    return element("span", *lines, class_="bar-pair", aria_hidden="true") if lines else Markup()


def graph(diff: Comparison, whole: bool = True) -> Markup:
    """Return the two graphs side by side.

    Args:
        diff: the graphs, aligned.
        whole: fold unchanged runs away, to be opened by a click; otherwise leave them out.
    """
    if diff.empty and not whole:
        return element("p", "No change.", class_="remark")
    grouping = modules_of(diff)
    near = _near_changes(diff.entries)
    parts: list[Markup] = []
    module: str | None = None
    for shown, run in groupby(zip(diff.entries, near, strict=True), key=lambda item: item[1]):
        entries = [entry for entry, _ in run]
        if not shown:
            parts.append(_folded(entries) if whole else element("div", _gap_text(entries), class_="gap"))
            module = None
            continue
        for entry in entries:
            if grouping.of(entry) != module:
                module = grouping.of(entry)
                parts.append(element("h3", breakable(module or TOP)))
            parts.append(_pair(entry))
    sides = ((diff.before.label or "before", "before"), (diff.after.label or "after", "after"))
    head = element("div", *(element("div", label, class_=f"side {side}") for label, side in sides), class_="pair heads")
    return element("div", head, *parts, class_="graph")


def _near_changes(entries: Sequence[Entry]) -> list[bool]:
    """Return for every entry whether it is shown: it changed, stands beside a change, or is not worth folding away."""
    shown = [any(e.mark != "=" for e in entries[max(0, i - CONTEXT) : i + CONTEXT + 1]) for i in range(len(entries))]
    made: list[bool] = []
    for kept, run in groupby(shown):
        count = len(list(run))
        made += [kept or count < LEAST_FOLDED] * count
    return made


def _gap_text(entries: Sequence[Entry]) -> str:
    return f"{plural(len(entries), 'unchanged node')}"


def _folded(entries: Sequence[Entry]) -> Markup:
    names = f"%{entries[0].row.name} … %{entries[-1].row.name}"
    summary = element("summary", _gap_text(entries), element("span", names, class_="names"))
    return element("details", summary, *(_pair(entry) for entry in entries), class_="gap")


def _pair(entry: Entry) -> Markup:
    remarks = parameter_remarks(entry)
    sides = [
        _side(entry, row, said, side)
        for row, said, side in ((entry.before, remarks[0], "before"), (entry.after, remarks[1], "after"))
    ]
    return element("div", *sides, class_=f"pair {CLASSES[entry.mark]}")


def _side(entry: Entry, row: Row | None, remarks: dict[str, str], side: str) -> Markup:
    if row is None:
        return element("div", class_=f"side {side} none")
    mark = " " if entry.mark == "=" else "-" if side == "before" else "+"
    code = element("code", *_row(entry, row, remarks))
    return element("div", element("span", mark, class_="sign"), code, class_=f"side {side}")


def _row(entry: Entry, row: Row, remarks: dict[str, str]) -> Iterator[Markup]:
    """Yield name, call and type; of a row that stands on both sides the cells that differ are marked."""
    full = "op" in entry.changed and same_word(entry)
    yield element("span", f"%{row.name}", class_="name")
    called = row.target.removeprefix("aten.") if full else row.op
    yield join([" ", _cell(entry, "op", element("span", breakable(called), class_="op")), "(", element("wbr")])
    for position, argument in enumerate(row.arguments):
        text = argument_text(row, argument, remarks)
        whole = len(text) <= LONGEST_WHOLE
        cell = _cell(entry, argument.key, text if whole else breakable(text))
        comma = "," if position + 1 < len(row.arguments) else ")"
        yield join([" " if position else "", element("span", cell, comma, class_="whole" if whole else "long")])
    if not row.arguments:
        yield join([")"])
    if row.result:
        yield join([" ", element("span", _cell(entry, "result", row.result), class_="type")])


def _cell(entry: Entry, key: str, text: str) -> Markup:
    return element("mark", text) if key in entry.changed else join([text])

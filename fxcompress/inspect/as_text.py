"""A diff as text: unified-diff marks, hunks by module, and a summary with a line a module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tabulate import tabulate

from fxcompress.inspect.entries import Comparison, Entry
from fxcompress.inspect.modules import Module, modules_of
from fxcompress.inspect.rows import Parameter, Row, call_text, printable, sparsity_text
from fxcompress.inspect.snapshot import Snapshot

# Calls longer than this do not push the types of the other lines of their hunk aside.
WIDEST_ALIGNED_CALL = 110
# A difference of sparsity below this is not one to name.
SEEN_SPARSITY = 0.005
TOP = "(top)"


def diff_text(diff: Comparison) -> str:
    """Return the headers, remarks on names, and a hunk for every run of changes in one module."""
    lines = _header_lines(diff)
    if diff.empty:
        lines.append("=== no change")
    grouping = modules_of(diff)
    for module, entries in groupby(diff.changes, key=grouping.of):
        lines += [f"@@ {module or TOP} @@", *_hunk(list(entries))]
    return "\n".join(printable(line) for line in lines)


def _header_lines(diff: Comparison) -> list[str]:
    return [printable(line) for line in (*_headers(diff.before, diff.after), *(f"=== {text}" for text in diff.remarks))]


def _headers(before: Snapshot, after: Snapshot) -> list[str]:
    sides = [("---", before), ("+++", after)]
    cells = [
        [
            f"{mark} {side.label or 'graph'}",
            f"{side.nodes:,} nodes",
            f"{side.parameters:,} params",
            f"{side.bytes:,} bytes",
        ]
        for mark, side in sides
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return [
        f"{row[0]:<{widths[0]}}"
        + "".join(f"    {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]


def _hunk(entries: Sequence[Entry]) -> Iterator[str]:
    lines = [line for entry in entries for line in _entry_lines(entry)]
    names = max(len(line[1]) for line in lines)
    calls = max((len(line[2]) for line in lines if len(line[2]) <= WIDEST_ALIGNED_CALL), default=0)
    for mark, name, call, result in lines:
        yield f"{mark} {name:<{names}}  {call:<{calls}}  {result}".rstrip()


def _entry_lines(entry: Entry) -> Iterator[tuple[str, str, str, str]]:
    remarks = parameter_remarks(entry)
    full = "op" in entry.changed and entry.before is not None and entry.after is not None and same_word(entry)
    for mark, row, said in (("-", entry.before, remarks[0]), ("+", entry.after, remarks[1])):
        if row is not None:
            yield mark, f"%{row.name}", call_text(row, said, full), row.result


def same_word(entry: Entry) -> bool:
    """Whether the two sides call different overloads of one operator, which only their full names tell."""
    return entry.before is not None and entry.after is not None and entry.before.op == entry.after.op


def parameter_remarks(entry: Entry) -> tuple[dict[str, str], dict[str, str]]:
    """Return what to say about the values of the parameters of an entry, by path, before and after."""
    if entry.before is None or entry.after is None:
        return {}, {}
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for p, q in parameter_pairs(entry.before, entry.after):
        if len(p.shape) >= 2 and abs(p.sparsity - q.sparsity) >= SEEN_SPARSITY:
            before[p.path] = sparsity_text(p) if p.sparsity >= SEEN_SPARSITY else ""
            after[q.path] = sparsity_text(q)
        elif (p.dtype, p.shape) == (q.dtype, q.shape) and p.digest != q.digest:
            after[q.path] = "other values"
    return before, after


def parameter_pairs(before: Row, after: Row) -> Iterator[tuple[Parameter, Parameter]]:
    """Yield the parameters that stand at the same place of the same argument."""
    present = {argument.key: argument for argument in after.arguments}
    for argument in before.arguments:
        other = present.get(argument.key)
        for x, y in zip(argument.pieces, other.pieces if other else (), strict=False):
            if x.kind == y.kind == "parameter":
                yield before.parameter(x.text), after.parameter(y.text)


def stat_text(diff: Comparison) -> str:
    """Return a table with a line for every module that changed, and one for the whole."""
    modules = [module for module in modules_of(diff).counts() if module.touched]
    lines = [_stat_line(module) for module in modules]
    total = Module("total", diff.removed, diff.added, diff.changed, _sizes(diff.before), _sizes(diff.after))
    table = tabulate(
        [*lines, _stat_line(total)],
        headers=["module", "nodes", "params", "bytes"],
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    return "\n".join([*_header_lines(diff), table])


def _sizes(side: Snapshot) -> tuple[int, int]:
    return side.parameters, side.bytes


def _stat_line(module: Module) -> list[str]:
    sizes = (_from_to(before, after) for before, after in zip(module.before, module.after, strict=True))
    return [printable(module.path or TOP), counts_text(module.removed, module.added, module.changed), *sizes]


def counts_text(removed: int, added: int, changed: int) -> str:
    """Return how many nodes were removed, added and changed: `-1 ~2`."""
    return " ".join(f"{mark}{count:,}" for mark, count in (("-", removed), ("+", added), ("~", changed)) if count)


def _from_to(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"

"""Names that differ though the things are the same: a module put into another one, parameters with new paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fxcompress.inspect.rows import Row
from fxcompress.inspect.snapshot import Snapshot
from fxcompress.text import plural


@dataclass(frozen=True)
class Prefix:
    """The modules that one of two graphs stands in and the other does not: `inner`, or "" for none."""

    in_before: str = ""
    in_after: str = ""

    def before(self, path: str) -> str:
        return _without(path, self.in_before)

    def after(self, path: str) -> str:
        return _without(path, self.in_after)


def _without(path: str, prefix: str) -> str:
    if not prefix or path == prefix:
        return "" if prefix else path
    return path.removeprefix(f"{prefix}.")


def common_prefix(before: Snapshot, after: Snapshot) -> Prefix:
    """Return the prefixes without which the most paths of parameters and modules are the same; none if that does."""
    a, b = _paths(before), _paths(after)
    candidates = [
        Prefix(),
        Prefix(in_after=_most_frequent(a, b)),
        Prefix(in_before=_most_frequent(b, a)),
        Prefix(_shared_by_all(a), _shared_by_all(b)),
    ]
    return max(candidates, key=lambda prefix: len(set(map(prefix.before, a)) & set(map(prefix.after, b))))


def _paths(snapshot: Snapshot) -> set[str]:
    read = {parameter.path for row in snapshot.rows for parameter in row.parameters}
    return read | {f"{row.scope}.{row.op}" for row in snapshot.rows if row.scope}


def _most_frequent(inner: set[str], outer: set[str]) -> str:
    """Return what stands most often before a path of `inner` to make a path of `outer`."""
    found: Counter[str] = Counter()
    for path in sorted(outer):
        words = path.split(".")
        found.update(".".join(words[:cut]) for cut in range(1, len(words)) if ".".join(words[cut:]) in inner)
    return found.most_common(1)[0][0] if found else ""


def _shared_by_all(paths: set[str]) -> str:
    if not paths:
        return ""
    first, last = min(paths).split(".")[:-1], max(paths).split(".")[:-1]
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return ".".join(first[:same])


@dataclass(frozen=True)
class Renaming:
    """One name for another, one to one, over all rows that are the same in both graphs.

    Attributes:
        parameters: the path after for every path before.
        scopes: the module after for every module before.
    """

    parameters: dict[str, str]
    scopes: dict[str, str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Row, Row]]) -> Renaming:
        pairs = list(pairs)
        called = [(a.scope, b.scope) for a, b in pairs if a.op not in ("placeholder", "output")]
        return cls(_one_to_one(_parameter_pairs(pairs)), _one_to_one(called))

    def lines(self, moved: int) -> Iterator[str]:
        """Yield what to say about names, a line each; nothing where all names are the old ones."""
        parameters = [(a, b) for a, b in self.parameters.items() if a != b]
        scopes = [(a, b) for a, b in self.scopes.items() if a != b]
        both = [(parameters, plural(len(parameters), "parameter")), (scopes, plural(len(scopes), "module"))]
        told: dict[str, list[str]] = {}
        for changed, count in both:
            if changed:
                told.setdefault(_summary(changed), []).append(count)
        for summary, counts in told.items():
            yield f"renamed: {summary} ({', '.join(counts)})"
        if moved:
            yield f"moved to other modules: {plural(moved, 'node')}"


def _parameter_pairs(pairs: Iterable[tuple[Row, Row]]) -> Iterator[tuple[str, str]]:
    for a, b in pairs:
        arguments = {argument.key: argument for argument in b.arguments}
        for argument in a.arguments:
            other = arguments.get(argument.key)
            for x, y in zip(argument.pieces, other.pieces if other else (), strict=False):
                if x.kind == y.kind == "parameter":
                    yield x.text, y.text


def _one_to_one(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the mapping that most of `pairs` agree on."""
    counts = Counter(pairs)
    forward: dict[str, str] = {}
    taken: set[str] = set()
    for (a, b), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0][0] != item[0][1], item[0])):
        if a not in forward and b not in taken:
            forward[a] = b
            taken.add(b)
    return dict(sorted(forward.items()))


def _summary(changed: list[tuple[str, str]]) -> str:
    """Return the one change that all share, or the first few."""
    heads = {_heads(a, b) for a, b in changed}
    if len(changed) > 1 and len(heads) == 1:
        return " -> ".join(".".join((*head, "*")) for head in heads.pop())
    shown = ", ".join(f"{a or '(top)'} -> {b or '(top)'}" for a, b in changed[:3])
    return shown + (", ..." if len(changed) > 3 else "")


def _heads(a: str, b: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of two paths without those at the end that they share."""
    words_a, words_b = a.split(".") if a else [], b.split(".") if b else []
    while words_a and words_b and words_a[-1] == words_b[-1]:
        words_a.pop()
        words_b.pop()
    return tuple(words_a), tuple(words_b)

"""Small tools for texts that people read: carets under a place, nearest names, sizes, patterns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Span:
    """A place in a text: characters `start` to `end` of `source`."""

    source: str
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.source[self.start : self.end]

    def underlined(self) -> str:
        """Return the line of the place with carets under it, each indented by two spaces."""
        begin = self.source.rfind("\n", 0, self.start) + 1
        stop = self.source.find("\n", self.start)
        line = self.source[begin : len(self.source) if stop < 0 else stop]
        width = max(1, min(self.end, begin + len(line)) - self.start)
        return f"  {line}\n  {' ' * (self.start - begin)}{'^' * width}"


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is most like `word`, or None where none is near."""
    return next(iter(nearest_few(word, names, 1)), None)


def nearest_few(word: str, names: Iterable[str], most: int = 4) -> list[str]:
    """Return those of `names` that are most like `word`, the likest first; none that are not near."""
    return difflib.get_close_matches(word, sorted(set(names)), n=most, cutoff=0.5)


def suggestion(word: str, names: Iterable[str]) -> str:
    """Return a hint for an unknown `word`: the nearest of `names`, or all of them."""
    names = sorted(set(names))
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"there are: {listing(names)}" if names else "there are none"


def listing(names: Sequence[str], most: int = 12) -> str:
    """Return `names` with commas, cut after `most` with a count of the rest."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def matches(pattern: str, name: str) -> bool:
    """Whether a dotted `name` is meant by `pattern`: a glob, or a path that it starts with."""
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") or fnmatchcase(name, f"{pattern}.*")


def plural(count: int, noun: str) -> str:
    """Return `1 node` or `2 nodes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""Taps: values of a graph that are read beside its result, by module path, glob, node name or part of the result."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.errors import PassFailed
from fxcompress.graph.module import CapturedModule, copy_graph
from fxcompress.graph.nodes import writes
from fxcompress.graph.types import symbol_names, type_text
from fxcompress.teaching.places import Places
from fxcompress.teaching.results import OUTPUT, add_results, result_nodes
from fxcompress.teaching.transforms import Transform
from fxcompress.teaching.writing import InGraph
from fxcompress.text import listing, nearest_few, suggestion


@dataclass(frozen=True)
class Tap:
    """A value of a graph, and what is kept of it.

    Attributes:
        text: as the user wrote it: `layer3`, `layer3.*`, `encoder.layer.1:0|pool`, `output|topk:8`.
        name: the key of the value: the module path or the name of the node, unique, with its index and its transform;
            `output` for what the module gives, `output.logits` for a part of it.
        node: the name of the node that gives it.
        path: the path of the module, `""` where it is a node or the result.
        transform: what is kept of it.
    """

    text: str
    name: str
    node: str
    path: str
    transform: Transform

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the tensors that are kept: `name`, or what a transform makes of it in several parts."""
        return tuple(self.name + part for part in self.transform.parts)

    def at(self, temperature: float) -> Tap:
        """Return the same tap with the tail of logits at `temperature`, where its text names none."""
        return dataclasses.replace(self, transform=self.transform.at(temperature))


def find_taps(module: GraphModule, texts: Sequence[str]) -> tuple[Tap, ...]:
    """Return the taps that `texts` mean in the graph of `module`, each value once.

    A text is `PLACE`, or `PLACE|TRANSFORM`. A place is a module path, a glob of paths (`*` for one step of a path, `**`
    for several), the name of a node, or `output` (as is `""`) and what it holds: `output.logits`. `PATH@1` is the
    second call of a module that is called more than once, `PATH:1` the second of its values.

    Raises:
        PassFailed: a text means nothing, or more than one value; names what it could mean.
    """
    finder = _Finder(module)
    found: dict[str, Tap] = {}
    for text in texts:
        for tap in finder.find(text):
            found.setdefault(tap.name, tap)
    return tuple(found.values())


def tapped(module: GraphModule, taps: Sequence[Tap]) -> CapturedModule:
    """Return a module that shares the parameters of `module` and gives `(its result, {key: value of a tap})`.

    It trains and evaluates as the original does; the keys are those of `Tap.keys`.

    Raises:
        PassFailed: a tap is of another graph.
    """
    made = CapturedModule(module, copy_graph(module.graph), module._get_name())
    nodes = {node.name: node for node in made.graph.nodes}
    writer = InGraph(made)
    values: dict[str, Node] = {}
    for tap in taps:
        if tap.node not in nodes:
            raise PassFailed(f"there is no node %{tap.node} for the tap {tap.text!r}", hint="find_taps in this graph")
        value = _kept(writer, nodes[tap.node])
        values |= {tap.name + part: node for part, node in tap.transform.apply(writer, value).items()}
    add_results(made, values)
    made.recompile()
    return made


def _kept(writer: InGraph, node: Node) -> Node:
    """Return `node`, or a copy made at once where a later call may write into it."""
    if not any(writes(one) for one in writer.module.graph.nodes):
        return node
    with writer.module.graph.inserting_after(node):
        copy = writer.module.graph.call_function(torch.ops.aten.clone.default, (node,))
    copy.meta["val"] = node.meta["val"]
    return copy


@dataclass(frozen=True)
class _Place:
    """What stands before the transform in a text."""

    path: str
    call: int | None
    index: int | None

    @staticmethod
    def parse(text: str) -> _Place:
        found = re.fullmatch(r"(.*?)(?:@(\d+))?(?::(\d+))?", text)
        assert found is not None
        path, call, index = found.groups()
        return _Place(path, None if call is None else int(call), None if index is None else int(index))


class _Finder:
    """Finds taps in one graph."""

    def __init__(self, module: GraphModule) -> None:
        self.places = Places(module)
        self.nodes = {
            node.name: node
            for node in module.graph.nodes
            if node.op in ("call_function", "placeholder") and isinstance(node.meta.get("val"), torch.Tensor)
        }
        self.results = result_nodes(module)
        self.symbols = symbol_names(module.graph)

    def find(self, text: str) -> Iterator[Tap]:
        """Yield the taps of one text."""
        where, *words = text.split("|")
        transform = Transform.parse(words)
        tail = f"|{transform}" if words else ""
        for name, node, path in self.values(where):
            yield Tap(text, name + tail, node.name, path, transform)

    def values(self, where: str) -> Iterable[tuple[str, Node, str]]:
        """Return name, node and module path of the values at a place."""
        if where in ("", OUTPUT):
            return [(name, node, "") for name, node in self.results.items()]
        for name in (where, f"{OUTPUT}.{where}"):
            if name in self.results and not self.places.calls(where):
                return [(name, self.results[name], "")]
        if "*" in where or "?" in where:
            return self._globbed(where)
        place = _Place.parse(where)
        if self.places.calls(place.path):
            return self._of_module(place)
        if where in self.nodes:
            return [(where, self.nodes[where], "")]
        raise self._unknown(where)

    def _globbed(self, where: str) -> list[tuple[str, Node, str]]:
        place = _Place.parse(where)
        meant = re.compile(_regex(place.path))
        paths = [path for path in self.places.paths() if meant.fullmatch(path)]
        found = []
        for path in paths:
            for call in self.places.calls(path) if place.call is None else [place.call]:
                values = self.places.values((path, call))
                for index in range(len(values)) if place.index is None else [place.index]:
                    found += self._of_module(dataclasses.replace(place, path=path, call=call, index=index))
        if not found:
            raise self._unknown(where)
        return found

    def _of_module(self, place: _Place) -> list[tuple[str, Node, str]]:
        """Return the one value that a module gives."""
        calls = self.places.calls(place.path)
        call = self._one_call(place, calls)
        name = place.path if len(calls) == 1 else f"{place.path}@{call}"
        values = self.places.values((place.path, call))
        if not values:
            raise PassFailed(f"no tensor that is computed in {name!r} is read outside of it", hint=self._near(name))
        if place.index is None and len(values) > 1:
            raise PassFailed(f"{name!r} gives {len(values)} values", hint=f"say which: {self._typed(name, values)}")
        if place.index is not None and place.index >= len(values):
            raise PassFailed(f"there is no {name}:{place.index}", hint=f"there are: {self._typed(name, values)}")
        node = values[place.index or 0]
        return [(name if len(values) == 1 else f"{name}:{place.index}", node, place.path)]

    def _one_call(self, place: _Place, calls: Sequence[int]) -> int:
        names = listing([f"{place.path}@{number}" for number in calls])
        if place.call is None and len(calls) > 1:
            raise PassFailed(f"the module {place.path!r} is called {len(calls)} times", hint=f"say which: {names}")
        if place.call is not None and place.call not in calls:
            raise PassFailed(f"there is no {place.path}@{place.call}", hint=f"there are: {names}")
        return calls[0] if place.call is None else place.call

    def _typed(self, name: str, values: Sequence[Node]) -> str:
        rows = [f"{name}:{index} {type_text(node.meta['val'], self.symbols)}" for index, node in enumerate(values)]
        return listing(rows)

    def _unknown(self, where: str) -> PassFailed:
        why = f"{where!r} is no module that gives a value in this graph, no node, and no part of the result"
        return PassFailed(why, hint=self._near(where))

    def _near(self, where: str) -> str:
        """Return the nearest names, with the types of what would be met there."""
        typed = {name: [node] for name, node in (self.nodes | self.results).items()}
        for path in self.places.paths():
            typed[path] = [node for call in self.places.calls(path) for node in self.places.values((path, call))]
        names = nearest_few(where, [name for name, values in typed.items() if values])
        rows = [
            f"{name} {' and '.join(type_text(node.meta['val'], self.symbols) for node in typed[name])}"
            for name in names
        ]
        return f"near are: {listing(rows)}" if rows else suggestion(where, typed)


def _regex(glob: str) -> str:
    """Return the regular expression of a glob: `*` stays within one step of a path, `**` does not."""
    words = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return "".join(words.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", glob))

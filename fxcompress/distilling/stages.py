"""The modules of a graph that follow one another: what features are compared of where nobody says."""

from __future__ import annotations

from collections import Counter

from torch.fx import GraphModule

from fxcompress.analysis.module_tree import depth, prefixes
from fxcompress.graph.nodes import scope
from fxcompress.graph.tensors import tensor_of

# A module with more than this share of all parameters is looked into: its own modules are the stages.
_MOST = 0.6


def stages(module: GraphModule) -> tuple[str, ...]:
    """Return paths of modules with matrices, in the order in which they end, none of which holds another."""
    sizes = _sizes(module)
    chosen = _children("", sizes)
    whole = sum(sizes[path] for path in chosen)
    while True:
        large = next((path for path in chosen if sizes[path] > _MOST * whole and _children(path, sizes)), None)
        if large is None:
            return _by_end(module, chosen)
        chosen = [path for path in chosen if path != large] + _children(large, sizes)


def _sizes(module: GraphModule) -> Counter[str]:
    """Return the elements of the matrices that each module path, at every level, calculates with."""
    sizes: Counter[str] = Counter()
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        held = [tensor_of(module, source) for source in node.all_input_nodes]
        elements = sum(tensor.numel() for tensor in held if tensor is not None and tensor.dim() > 1)
        for path in prefixes(scope(node)):
            sizes[path] += elements
    return Counter({path: size for path, size in sizes.items() if size})


def _children(path: str, sizes: Counter[str]) -> list[str]:
    """Return the paths one level below `path`."""
    level = depth(path)
    return [one for one in sizes if depth(one) == level + 1 and (not path or one.startswith(f"{path}."))]


def _by_end(module: GraphModule, paths: list[str]) -> tuple[str, ...]:
    """Return the paths in the order of their last calls."""
    last = {path: number for number, node in enumerate(module.graph.nodes) for path in prefixes(scope(node))}
    return tuple(sorted(paths, key=last.__getitem__))

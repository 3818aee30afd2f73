"""The tensors that a module stores: how nodes read them, how they are put, tied, renamed and dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.fx import GraphModule, Node


def tensor_of(module: GraphModule, node: Any) -> torch.Tensor | None:
    """Return the parameter, buffer or constant that a `get_attr` node reads, None for anything else."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    found = attribute(module, str(node.target))
    return found if isinstance(found, torch.Tensor) else None


def attribute(module: torch.nn.Module, path: str) -> Any:
    """Return what stands under a dotted `path` of `module`."""
    found: Any = module
    for word in path.split("."):
        found = getattr(found, word)
    return found


def owner_of(module: torch.nn.Module, path: str) -> tuple[torch.nn.Module, str]:
    """Return the submodule that holds the attribute `path`, made where it is missing, and the last word."""
    *words, last = path.split(".")
    for word in words:
        if not hasattr(module, word):
            module.add_module(word, torch.nn.Module())
        module = getattr(module, word)
    return module, last


def put_tensor(module: torch.nn.Module, path: str, value: torch.Tensor, *, persistent: bool = True) -> None:
    """Register `value` under `path`: a parameter as such, any other tensor as a buffer.

    What stands there gives way; where it is of the same kind, the new one takes its place in the order.
    """
    owner, last = owner_of(module, path)
    peers = owner._parameters if isinstance(value, torch.nn.Parameter) else owner._buffers
    if hasattr(owner, last) and last not in peers:
        delattr(owner, last)
    if isinstance(value, torch.nn.Parameter):
        owner.register_parameter(last, value)
    else:
        owner.register_buffer(last, value, persistent=persistent)


def set_tensor(module: torch.nn.Module, path: str, value: torch.Tensor) -> None:
    """Put `value` under `path`: a parameter stays a parameter (with its `requires_grad`), the rest are buffers.

    A tensor that is tied, that is reached under several paths, is replaced under all of them and stays tied. Integers
    and 8-bit floats in place of a parameter become a buffer, since they have no gradient.
    """
    owner, last = owner_of(module, path)
    old = getattr(owner, last, None)
    if not isinstance(value, torch.nn.Parameter):
        value = value.detach()
        wide = value.is_complex() or (value.is_floating_point() and value.element_size() > 1)
        if isinstance(old, torch.nn.Parameter) and wide:
            value = torch.nn.Parameter(value, requires_grad=old.requires_grad)
    places = tied_paths(module, old) if isinstance(old, torch.Tensor) else []
    for place in places or [path]:
        put_tensor(module, place, value, persistent=is_persistent(module, place))


def is_persistent(module: torch.nn.Module, path: str) -> bool:
    """Whether `state_dict()` holds what stands, or would stand, under `path`."""
    owner, last = owner_of(module, path)
    return last not in owner._non_persistent_buffers_set


def tied_paths(module: torch.nn.Module, tensor: torch.Tensor) -> list[str]:
    """Return every path under which `module` holds the very object `tensor`."""
    return [path for path, held in named_tensors(module) if held is tensor]


def named_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter and buffer under each of its paths, tied ones under all of them."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def free_path(module: torch.nn.Module, path: str) -> str:
    """Return `path`, or `path_1`, `path_2`, ... where it is taken: by a tensor, a module, or an attribute of one."""
    first, *rest = path.split(".")
    words = [first]
    for word in rest:
        held = _held(module, words)
        if held is None or isinstance(held, torch.nn.Module):
            words.append(word)
        else:
            words[-1] += f"_{word}"
    candidate, count = ".".join(words), 0
    while _held(module, candidate.split(".")) is not None:
        count += 1
        candidate = f"{'.'.join(words)}_{count}"
    return candidate


def _held(module: torch.nn.Module, words: list[str]) -> Any:
    """Return what stands under the path of `words`, None where nothing does."""
    found: Any = module
    for word in words:
        found = getattr(found, word, None)
    return found


def add_tensor(module: GraphModule, path: str, value: torch.Tensor, before: Node, *, persistent: bool = True) -> Node:
    """Register `value` under a free path like `path` and return a `get_attr` node for it before `before`."""
    path = free_path(module, path)
    put_tensor(module, path, value, persistent=persistent)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(path)
    node.meta["val"] = value
    return node


def rename_tensor(module: GraphModule, old: str, new: str) -> None:
    """Move a tensor from path `old` to path `new`, over what stood there, and let the nodes that read it follow."""
    if old == new:
        return
    tensor, persistent = attribute(module, old), is_persistent(module, old)
    remove_tensor(module, old)
    put_tensor(module, new, tensor, persistent=persistent)
    for node in module.graph.find_nodes(op="get_attr"):
        if node.target == old:
            node.target = new


def remove_tensor(module: torch.nn.Module, path: str) -> None:
    """Remove the tensor under `path`, and the modules around it that hold nothing without it."""
    words = path.split(".")
    while words:
        owner, last = owner_of(module, ".".join(words))
        delattr(owner, last)
        words.pop()
        if owner._parameters or owner._buffers or owner._modules:
            return


def drop_unused(module: GraphModule, among: Iterable[str] | None = None) -> list[str]:
    """Remove dead nodes, and the tensors that no node reads; return the paths of these.

    Args:
        among: paths of the tensors that may go, each under all of its names; None for every tensor.
    """
    module.graph.eliminate_dead_code()
    read = read_tensors(module)
    named = list(named_tensors(module))
    paths = None if among is None else set(among)
    candidates = {id(held) for path, held in named if paths is None or path in paths}
    gone = [path for path, held in named if id(held) in candidates - read]
    for path in gone:
        remove_tensor(module, path)
    return gone


def read_tensors(module: GraphModule) -> set[int]:
    """Return the ids of the tensors that nodes read, those of called subgraphs among them."""
    read: set[int] = set()
    for node in module.graph.find_nodes(op="get_attr"):
        held = attribute(module, str(node.target))
        inside = named_tensors(held) if isinstance(held, torch.nn.Module) else [("", held)]
        read |= {id(tensor) for _, tensor in inside}
    return read


class Sources:
    """The `get_attr` nodes of a graph by the tensor that they read, for many questions at once.

    It holds while tensors are replaced under all of their names, as `set_tensor` does.
    """

    def __init__(self, module: GraphModule) -> None:
        self.roots: dict[str, int] = {}
        self.nodes: dict[int, list[Node]] = {}
        for node in module.graph.find_nodes(op="get_attr"):
            root = self.roots.setdefault(str(node.target), id(attribute(module, str(node.target))))
            self.nodes.setdefault(root, []).append(node)

    def of(self, source: Node) -> list[Node]:
        """Return the nodes that read the tensor of `source`, under whichever of its names, `source` among them."""
        root = self.roots.get(str(source.target))
        return [source] if root is None else self.nodes[root]

    def readers(self, source: Node) -> set[Node]:
        """Return the nodes that read the tensor of `source` through any of these."""
        return {user for one in self.of(source) for user in one.users}

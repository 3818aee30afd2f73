"""Replaces operations that write into their input by those that do not, where nobody can see the difference."""

from __future__ import annotations

from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fxcompress.capturing.aliases import Aliases
from fxcompress.capturing.views import Anew, layout_of, whole, written_back
from fxcompress.graph.nodes import scope_meta, writes

aten = torch.ops.aten

# Twins that are not called as the operation without its underscore.
_TWINS: dict[str, str] = {
    "__iand__": "bitwise_and",
    "__ior__": "bitwise_or",
    "__ixor__": "bitwise_xor",
    "__ilshift__": "bitwise_left_shift",
    "__irshift__": "bitwise_right_shift",
    "normal_": "normal_functional",
}
_NO_TWIN = ("resize_", "resize_as_", "set_")


def replace_in_place(module: GraphModule) -> bool:
    """Replace in-place calls by their out-of-place twins, and let what reads the memory later read the new tensors.

    What is written into a view is scattered into a copy of the whole tensor, and other views of it that are read
    later are made anew. Writes into inputs, parameters and buffers stay, so do those with views of unknown making.
    Every node must carry the fake value of one propagation over the present graph.

    Returns:
        whether a call was replaced.
    """
    aliases = Aliases(module.graph)
    written = [node for node in module.graph.nodes if writes(node)]
    replaced = [_Write(node, aliases).replace() for node in written]
    return any(replaced)


def twin_of(target: Any) -> OpOverload | None:
    """Return the operation that gives what the in-place `target` gives and takes the same arguments, or None."""
    name = target.overloadpacket.__name__
    if name in _NO_TWIN or target.namespace != "aten":
        return None
    packet = getattr(torch.ops.aten, _TWINS.get(name, name.removesuffix("_")), None)
    if not isinstance(packet, OpOverloadPacket) or packet is target.overloadpacket:
        return None
    wanted = _signature(target)
    for overload in sorted(packet.overloads(), key=lambda overload: overload != target._overloadname):
        twin = getattr(packet, overload)
        if _signature(twin) == wanted and not twin._schema.is_mutable and len(twin._schema.returns) == 1:
            return twin  # type: ignore[no-any-return]
    return None


def _signature(target: OpOverload) -> list[tuple[str, str]]:
    """Return names and types of the arguments; the first is called `self` in one operation, `input` in another."""
    first, *others = target._schema.arguments
    return [("", str(first.type)), *((argument.name, str(argument.type)) for argument in others)]


class _Write:
    """One in-place call, and what it takes to do without it."""

    def __init__(self, node: Node, aliases: Aliases) -> None:
        self.node = node
        self.aliases = aliases
        self.made: list[Node] = []

    def replace(self) -> bool:
        """Replace the call; leave the graph as it is and return False where that might be seen."""
        view, twin = self.node.args[0] if self.node.args else None, twin_of(self.node.target)
        if twin is None or not isinstance(view, Node):
            return False
        if not isinstance(self.node.meta.get("val"), FakeTensor):
            return False
        base = whole(view, self.aliases)
        # Views made later do not count: they are made of these, or of what the call gives.
        older = [other for other in [view, *self.aliases.of(view)] if self._before(other)]
        read = [other for other in older if self.aliases.readers_after(other, self.node)]
        if any(other.op in ("placeholder", "get_attr") for other in older) or any(
            whole(other, self.aliases) is not base for other in read
        ):
            return False
        new_base = self._new_base(view, base, twin)
        if new_base is None or layout_of(new_base.meta["val"]) != layout_of(base.meta["val"]):
            for made in reversed(self.made):
                self.node.graph.erase_node(made)
            return False
        self._hand_on([*read, view], base, new_base)
        for made in self.made:
            self.aliases.join(made, beside=view)
        self.node.graph.erase_node(self.node)
        return True

    def _before(self, other: Node) -> bool:
        return self.aliases.order[other] < self.aliases.order[self.node]

    def _new_base(self, view: Node, base: Node, twin: OpOverload) -> Node | None:
        """Return the whole tensor after the write, None where what is written cannot be put back into it."""
        value = self._written(view, base, twin)
        if value.meta["val"].dtype != view.meta["val"].dtype:
            return None
        while view is not base:
            back = written_back(view, value, self.aliases, self._call)
            if back is None:
                return None
            view, value = back
        return value

    def _written(self, view: Node, base: Node, twin: OpOverload) -> Node:
        """Return what is in `view` after the write."""
        source = self.node.args[1] if len(self.node.args) > 1 else None
        if twin is aten.copy.default and view is not base and isinstance(source, Node):
            one, other = source.meta["val"], view.meta["val"]
            if (one.dtype, one.device, tuple(one.shape)) == (other.dtype, other.device, tuple(other.shape)):
                return source
        return self._call(twin, *self.node.args, **dict[str, Any](self.node.kwargs))

    def _hand_on(self, read: list[Node], base: Node, new_base: Node) -> None:
        """Let the later readers of `read`, and those of the in-place call, read `new_base` and views of it."""
        anew = Anew(base, new_base, self.aliases, self._call)
        for old in dict.fromkeys(read):
            readers = self.aliases.readers_after(old, self.node)
            users = [*readers, *self.node.users] if old is self.node.args[0] else readers
            for user in dict.fromkeys(users):
                user.replace_input_with(old, anew.view(old))
                if old is self.node.args[0]:
                    user.replace_input_with(self.node, anew.view(old))
        given = self.node.args[0]
        if isinstance(given, Node) and given is not base and given in anew.made:
            # What the call gave is this view, wherever the view was made before.
            anew.made[given].meta.update(scope_meta(self.node))

    def _call(self, target: Any, *args: Any, like: Node | None = None, **kwargs: Any) -> Node:
        """Insert a call before the in-place one, give it its fake value, and the place in the model of `like`."""
        like = like or self.node
        graph = self.node.graph
        with graph.inserting_before(self.node):
            made = graph.create_node("call_function", target, args, kwargs, name=_plain_name(target, like))
        made.meta.update({key: like.meta[key] for key in ("nn_module_stack", "stack_trace") if key in like.meta})
        given_args, given_kwargs = map_arg((args, kwargs), lambda inner: inner.meta["val"])
        with self.node.meta["val"].fake_mode, enable_python_dispatcher():
            made.meta["val"] = target(*given_args, **given_kwargs)
        self.aliases.place(made, before=self.node)
        self.made.append(made)
        return made


def _plain_name(target: Any, like: Node) -> str:
    """Return a name for a node that calls `target`: `relu`, which the graph counts on as `relu_1`."""
    packet = getattr(target, "overloadpacket", None)
    return like.name if packet is None else packet.__name__.strip("_")


def replace_in_place_views(module: GraphModule) -> None:
    """Replace calls such as `unsqueeze_`, which give a tensor another shape, by views that the later readers read.

    The tensor itself may have several names: an in-place call gives the very tensor that it is given.
    """
    order = {node: place for place, node in enumerate(module.graph.nodes)}
    for node in list(order):
        twin = twin_of(node.target) if writes(node) and torch.Tag.inplace_view in node.target.tags else None
        names = _names_of_one_tensor(node)
        if twin is None or names[-1].op in ("placeholder", "get_attr"):
            continue
        for name in names[1:]:
            for user in list(name.users):
                if order[user] > order[node]:
                    user.replace_input_with(name, node)
        node.target = twin


def _names_of_one_tensor(node: Node) -> list[Node]:
    """Return `node`, what it writes into, what that in turn wrote into, and so on."""
    names = [node]
    while writes(names[-1]) and names[-1].args and isinstance(names[-1].args[0], Node):
        names.append(names[-1].args[0])
    return names

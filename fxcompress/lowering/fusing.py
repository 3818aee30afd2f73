"""What stands behind a linear of tokens goes into its call: activation function, residual, norm, and quantization.

A call that gives floats takes over, one after the other, what alone reads its result. A norm may share it with the
next residual, and its own result with others than the layer that wants it quantized: then the call gives both.
"""

from __future__ import annotations

import operator

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, scope_meta, set_argument
from fxcompress.graph.sums import other_summand
from fxcompress.kernels.behind import OUTPUTS
from fxcompress.lowering.claims import post_of

aten, ops = torch.ops.aten, torch.ops.fxcompress
_CALLS = (ops.linear_tokens.default, ops.finish_rows.default)


def fuse(module: GraphModule) -> None:
    """Fuse all that can be."""
    for call in calls(module.graph, ops.linear_tokens.default):
        for step in (_post, _residual, _norm):
            step(module, call)
    _norms_of_their_own(module)
    for call in calls(module.graph, *_CALLS):
        _quantization(module, call)


def _norms_of_their_own(module: GraphModule) -> None:
    """Let norms whose results are quantized be calls that can take over the quantization."""
    for node in calls(module.graph, aten.layer_norm.default):
        if any(_wants_tokens(user) for user in node.users) and _is_norm(node):
            backend = next(argument(user, "backend") for user in node.users if _wants_tokens(user))
            tail = ("none", None, "layer", *(argument(node, name) for name in ("weight", "bias", "eps")))
            with module.graph.inserting_before(node):
                made = module.graph.call_function(
                    ops.finish_rows.default, (argument(node, "input"), *tail, ["out"], backend)
                )
                made.meta = scope_meta(node)
                out = module.graph.call_function(operator.getitem, (made, 0))
            out.meta = dict(node.meta)
            node.replace_all_uses_with(out)
            module.graph.erase_node(node)


def _out(call: Node) -> Node | None:
    """Return the node of the float32 result, None where the call gives none."""
    return next((node for node in call.users if result_of(node) == ("out", 0)), None)


def result_of(item: Node) -> tuple[str, int]:
    """Return which output a `getitem` takes, and which of its tensors."""
    assert isinstance(item.args[0], Node)
    index = place_of(item)
    for name in argument(item.args[0], "outputs"):
        if index < OUTPUTS[name]:
            return name, index
        index -= OUTPUTS[name]
    raise AssertionError(f"{item} takes an output that there is not")


def place_of(item: Node) -> int:
    """Return the place that a `getitem` takes."""
    place = item.args[1]
    assert isinstance(place, int)
    return place


def give(call: Node, outputs: list[str]) -> None:
    """Let `call` give other `outputs`; those that are read stay among them."""
    read = {item: result_of(item) for item in call.users}
    starts, place = dict[str, int](), 0
    for name in outputs:
        starts[name], place = place, place + OUTPUTS[name]
    set_argument(call, "outputs", outputs)
    for item, (name, index) in read.items():
        item.args = (call, starts[name] + index)


def _plain(call: Node, *unset: str) -> bool:
    """Whether nothing stands behind `call` yet in the places that are named, and it gives floats alone."""
    return argument(call, "outputs") == ["out"] and all(argument(call, name) in ("none", None) for name in unset)


def _only_user(node: Node | None) -> Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _post(module: GraphModule, call: Node) -> bool:
    user = _only_user(_out(call))
    name = post_of(user) if user is not None else None
    if user is None or name is None or not _plain(call, "post", "residual", "norm"):
        return False
    set_argument(call, "post", name)
    _instead(call, user)
    return True


def _residual(module: GraphModule, call: Node) -> bool:
    """Fuse the addition of another value of the same shape, which may be calculated behind `call`."""
    out = _out(call)
    user = _only_user(out)
    if out is None or user is None or not _plain(call, "residual", "norm"):
        return False
    residual = other_summand(user, out)
    if residual is None or is_call(residual, aten.expand):
        return False
    # All that the call reads stands before it, and the addition may stand far behind.
    user.prepend(call)
    user.prepend(out)
    set_argument(call, "residual", residual)
    _instead(call, user)
    return True


def _norm(module: GraphModule, call: Node) -> bool:
    """Fuse a layer norm; its input stays an output of the call where others read it."""
    out = _out(call)
    norms = [user for user in out.users if _is_norm(user)] if out is not None else []
    if out is None or len(norms) != 1 or not _plain(call, "norm"):
        return False
    norm = norms[0]
    weight, bias = argument(norm, "weight"), argument(norm, "bias")
    for stored in (weight, bias):
        if stored is not None and stored > call:
            call.prepend(stored)
    values = {"norm": "layer", "norm_weight": weight, "norm_bias": bias, "eps": argument(norm, "eps")}
    for name, value in values.items():
        set_argument(call, name, value)
    others = len(out.users) > 1
    with module.graph.inserting_after(out):
        behind = module.graph.call_function(operator.getitem, (call, int(others)))
    behind.meta = dict(norm.meta)
    norm.replace_all_uses_with(behind)
    module.graph.erase_node(norm)
    if others:
        set_argument(call, "outputs", ["sum", "out"])
    else:
        module.graph.erase_node(out)
    return True


def _is_norm(node: Node) -> bool:
    """Whether it is a layer norm over the last axis, of floats, with stored weights or none."""
    if not is_call(node, aten.layer_norm.default) or node.meta["val"].dtype != torch.float32:
        return False
    stored = (argument(node, "weight"), argument(node, "bias"))
    whole = all(one is None or one.op == "get_attr" for one in stored)
    return whole and len(argument(node, "normalized_shape")) == 1


def _quantization(module: GraphModule, call: Node) -> bool:
    """Fuse the quantization of the result, row by row; floats are given too where others read them."""
    out = _out(call)
    users = [user for user in out.users if _wants_tokens(user)] if out is not None else []
    outputs = list(argument(call, "outputs"))
    if out is None or not users or "tokens" in outputs:
        return False
    give(call, [*outputs, "tokens"])
    place = sum(OUTPUTS[name] for name in outputs)
    for item in list(users[0].users):
        item.args = (call, place + place_of(item))
    module.graph.erase_node(users[0])
    if not out.users:
        module.graph.erase_node(out)
        give(call, [name for name in argument(call, "outputs") if name != "out"])
    return True


def _wants_tokens(node: Node) -> bool:
    """Whether `node` quantizes what it reads and does nothing else."""
    if not is_call(node, ops.finish_rows.default) or argument(node, "outputs") != ["tokens"]:
        return False
    return all(argument(node, name) in ("none", None) for name in ("post", "residual", "norm"))


def _instead(call: Node, user: Node) -> None:
    """Let all that reads `user` read the result of `call`, which calculates it now."""
    out = _out(call)
    assert out is not None
    out.meta = dict(user.meta)
    user.replace_all_uses_with(out)
    out.graph.erase_node(user)

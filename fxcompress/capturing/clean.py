"""Brings what export gave into the dialect, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.utils import _pytree as pytree

from fxcompress.capturing.dialect import inputs_first, remove_checks, remove_copies_of_constants
from fxcompress.capturing.in_place import replace_in_place, replace_in_place_views
from fxcompress.capturing.no_grad import inline_regions
from fxcompress.graph.nodes import writes
from fxcompress.graph.shapes import propagate
from fxcompress.text import listing


def clean(module: GraphModule, shares_memory: bool) -> list[str]:
    """Clean the graph of `module`, which is edited; return what a report should say.

    Args:
        module: what `ExportedProgram.module` gives.
        shares_memory: whether the fake values in `meta["val"]` share memory where the real ones do.
    """
    plain_results(module)
    remove_checks(module)
    notes = inline_regions(module)
    remove_checks(module)
    inputs_first(module)
    replace_in_place_views(module)
    if not shares_memory:
        propagate(module)
    with _thawed(module):
        replace_in_place(module)
    remove_copies_of_constants(module)
    module.graph.eliminate_dead_code()
    left = [f"%{node.name} ({node._pretty_print_target(node.target)})" for node in module.graph.nodes if writes(node)]
    if left:
        notes.append(f"these nodes write into their input and are left alone: {listing(left)}")
    return notes


def plain_results(module: GraphModule) -> None:
    """Let the graph of a symbolically traced model give lists and dictionaries, not the immutable kinds of FX."""
    codegen: Any = module.graph._codegen
    codegen.pytree_info = codegen.pytree_info._replace(out_spec=_plain(codegen.pytree_info.out_spec))


def _plain(spec: pytree.TreeSpec) -> pytree.TreeSpec:
    if spec.is_leaf():
        return spec
    kind: Any = {immutable_list: list, immutable_dict: dict}.get(spec.type, spec.type)
    return pytree.TreeSpec(kind, spec.context, [_plain(child) for child in spec.children()])


@contextmanager
def _thawed(module: GraphModule) -> Iterator[None]:
    """Let new calls be typed in the shape environment of the export, which export freezes when it is done."""
    values = (node.meta.get("val") for node in module.graph.find_nodes(op="placeholder"))
    env = next((value.fake_mode.shape_env for value in values if isinstance(value, FakeTensor)), None)
    if env is None:
        yield
        return
    frozen, env.frozen = env.frozen, False
    try:
        yield
    finally:
        env.frozen = frozen

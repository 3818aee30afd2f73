"""A graph in the form that runtimes of ONNX recognise: what a pattern stands for stays the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from fxcompress.clustering import without_sharing
from fxcompress.errors import ExportError
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.tensors import drop_unused
from fxcompress.sparsity import without_masks
from fxcompress.targets.onnx.attention import spell_out_attention
from fxcompress.targets.onnx.groups import spell_out_groups
from fxcompress.targets.onnx.layers import rewrite_layers
from fxcompress.targets.onnx.lookups import look_up_integers
from fxcompress.targets.onnx.samples import rewrite_samples
from fxcompress.targets.onnx.tokens import rewrite_tokens
from fxcompress.targets.zero_points import write_zero_points

# Ranges that are found as the model runs are written out in arithmetic.
_WRITTEN_OUT = (torch.ops.fxcompress.choose_token_range.default, torch.ops.fxcompress.choose_sample_range.default)


@dataclass(frozen=True)
class Rewritten:
    """A graph to translate.

    Attributes:
        module: gives what the original gives.
        narrow: names of stored weights whose integers fit into 4 bits.
    """

    module: CapturedModule
    narrow: set[str] = field(default_factory=set)


def rewritten(module: CapturedModule, dynamic: str) -> Rewritten:
    """Return a copy of `module` in the form for ONNX.

    Args:
        dynamic: `token` keeps the ranges of tokens, `tensor` takes one range for each activation in their place.

    Raises:
        ExportError: the graph was lowered.
    """
    module = without_sharing(without_masks(module))
    _refuse_lowered(module)
    made = Rewritten(copy.deepcopy(module))
    look_up_integers(made.module)
    made.narrow.update(rewrite_layers(made.module))
    rewrite_tokens(made.module, dynamic)
    rewrite_samples(made.module, dynamic)
    write_zero_points(made.module)
    spell_out_groups(made.module)
    spell_out_attention(made.module)
    made.module.graph.eliminate_dead_code()
    drop_unused(made.module)
    made.module.recompile()
    return made


def _refuse_lowered(module: CapturedModule) -> None:
    for node in module.graph.nodes:
        kernel = node.op == "call_function" and _namespace(node) == "fxcompress"
        if kernel and node.target not in _WRITTEN_OUT:
            raise ExportError(
                f"%{node.name} calls {node.target}, a kernel of fxcompress that ONNX does not have",
                hint="leave `lower` out of the pipeline: runtimes of ONNX fuse quantized layers themselves",
            )


def _namespace(node: Node) -> str:
    return str(getattr(node.target, "namespace", ""))

"""From a graph in the form for ONNX to the bytes of a file, by PyTorch's own exporter."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.errors import ExportError, UsageError
from fxcompress.graph.module import CapturedModule
from fxcompress.targets.exporting import exported_program
from fxcompress.targets.onnx.rewriting import Rewritten

# Block-wise scales and integers of 4 bits came with it.
OLDEST_OPSET = 21
LARGEST = 2**31 - 1
_PACKAGES = ("onnx", "onnxscript", "onnx_ir")


def translated(graph: Rewritten, inputs: Inputs, opset: int) -> bytes:
    """Return the bytes of an ONNX file.

    Raises:
        UsageError: a package is missing.
        ExportError: a node has no form in ONNX, or the file would be larger than such a file may be.
    """
    check_packages()
    program = exported_program(graph.module, inputs)
    model = _exported(program, opset)
    _name(model, graph.module)
    _narrow(model, graph.narrow)
    proto = importlib.import_module("onnx_ir").to_proto(model)
    if proto.ByteSize() > LARGEST:
        raise ExportError("the file would have more than 2 GB, which one ONNX file cannot hold")
    content: bytes = proto.SerializeToString()
    return content


def check_packages() -> None:
    """Raise UsageError where a package that the exporter needs is missing."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"target 'onnx' needs the package {name}, which is not there: {error}",
                hint="pip install 'fxcompress[onnx]'",
            ) from error


def _exported(program: ExportedProgram, opset: int) -> Any:
    """Return the model as `onnx_ir` has it."""
    table = _translations()
    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, opset_version=opset, custom_translation_table=table, verbose=False
            )
    except torch.onnx.errors.OnnxExporterError as error:
        why = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), str(error))
        raise ExportError(
            f"the graph has no form in ONNX: {why}", hint="see which operator it names, and whether a pass can avoid it"
        ) from error
    assert made is not None
    return made.model


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return how the operators of our own namespace are written."""
    op = importlib.import_module("onnxscript").opset21
    ours = torch.ops.fxcompress_onnx

    def dequantize_blocks(integers: Any, scales: Any, zeros: Any, block: int) -> Any:
        return op.DequantizeLinear(integers, scales, zeros, axis=0, block_size=block)

    def dynamic_quantize(values: Any) -> Any:
        return op.DynamicQuantizeLinear(values)

    def matmul_integer(left: Any, right: Any, zero: Any) -> Any:
        return op.MatMulInteger(left, right, zero)

    def convolve_integer(
        image: Any, weight: Any, zero: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        pads = [*padding, *padding]
        moves = {"strides": list(stride), "pads": pads, "dilations": list(dilation), "group": groups}
        return op.ConvInteger(image, weight, zero, **moves)

    return {
        ours.convolve_integer.default: convolve_integer,
        ours.dequantize_blocks.default: dequantize_blocks,
        ours.dynamic_quantize.default: dynamic_quantize,
        ours.matmul_integer.default: matmul_integer,
    }


def _name(model: Any, module: CapturedModule) -> None:
    """Name the outputs as the model nests them, and the open batch size `batch`."""
    for value, name in zip(model.graph.outputs, output_names(module), strict=True):
        value.name = name


def output_names(module: CapturedModule) -> list[str]:
    """Return a name for each tensor that the graph gives: `logits`, `output_0`, `hidden_states_3`."""
    returned: Any = module.graph.output_node().args[0]
    info = getattr(module.graph._codegen, "pytree_info", None)
    flat = pytree.tree_leaves(returned, is_leaf=lambda one: isinstance(one, Node) or one is None)
    tree = returned if info is None or info.out_spec is None else pytree.tree_unflatten(flat, info.out_spec)
    named = pytree.tree_flatten_with_path(tree)[0]
    paths = ["_".join(re.findall(r"\w+", pytree.keystr(path))) for path, leaf in named if isinstance(leaf, Node)]
    return ["output" if not path else f"output_{path}" if path[0].isdigit() else path for path in paths]


def _narrow(model: Any, names: set[str]) -> None:
    """Store the named integers, which fit, in 4 bits, and the zero points that belong to them."""
    for node in model.graph:
        if node.op_type != "DequantizeLinear" or node.inputs[0].name not in names:
            continue
        for place in (0, 2):
            given = node.inputs[place] if place < len(node.inputs) else None
            if given is not None:
                node.replace_input_with(place, _in_4_bits(model.graph, given))


def _in_4_bits(graph: Any, value: Any) -> Any:
    """Return an initializer of `graph` with the integers of `value` in 4 bits."""
    ir, numbers = importlib.import_module("onnx_ir"), importlib.import_module("ml_dtypes")
    name = f"{value.name}_4bit"
    if name not in graph.initializers:
        array = value.const_value.numpy().astype(numbers.int4)
        tensor = ir.Tensor(array, dtype=ir.DataType.INT4, name=name)
        made = ir.Value(name=name, const_value=tensor, shape=value.shape, type=ir.TensorType(ir.DataType.INT4))
        graph.register_initializer(made)
    if value.name in graph.initializers and len(value.uses()) == 1:
        del graph.initializers[value.name]
    return graph.initializers[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says of its own workings: the user can do nothing about it."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

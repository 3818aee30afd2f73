"""Lowering: quantized layers become calls of kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, at_least, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.shapes import propagate
from fxcompress.kernels.backends import BACKENDS, available, missing, why_missing
from fxcompress.kernels.narrow import has_bf16
from fxcompress.kernels.native import operators
from fxcompress.lowering.gpu import KERNELS
from fxcompress.lowering.gpu.devices import ASSUMED, at_hand, device_named
from fxcompress.lowering.gpu.run import lower_for_gpu
from fxcompress.lowering.gpu.telling import chosen_kernels, tell_gpu
from fxcompress.lowering.on_cpu import OnCpu, Outcome
from fxcompress.lowering.paths import look_up_owners_once
from fxcompress.lowering.unrounded_products import multiply_unrounded
from fxcompress.text import listing, suggestion


@dataclass(frozen=True)
class Lower(Pass):
    """Let kernels calculate quantized layers in integers, the fastest for each shape.

    On processors with AVX-512 VNNI the backend `native` is C++ of ours, compiled at its first use where there is a
    compiler. Activations are quantized where they are made: activation functions, residuals, layer norms and the
    quantization of the result go into the call of the linear before. Attention in floats is a kernel too.

    Claimed are linears whose weight is int8 with a scale for each output, with activations quantized row by row
    (`w8a8`), quantized beforehand to uint8 (`w8a8-static`) or in floats (`w8a16`), linears with a scale for each group
    of features, 2d convolutions of uint8, 1d and 2d convolutions of images rounded by their own ranges (`w8a8`), and
    embeddings with a scale for each row. Relu, gelu and a quantization behind a static layer or a convolution go into
    its call, so that bytes flow from layer to layer. Linears that read the same activation become one product. The
    stored tensors stay as they are; what a kernel wants packed is made at the first call.

    For each shape of the example inputs the backends that give the same are timed, once in a process. Where the
    pattern is faster as it stands it stays, and a note says so. With float activations the product is calculated with
    the activations in 16-bit fixed point, exactly in integers, where that is faster than keeping the weights as floats.
    A layer of `w8a8` that is faster in floats than with its activations rounded reads them as they are, as do those
    convolutions that no kernel takes (3d, transposed, by single channels), and a table of few rows is kept in floats.

    Quantized linears whose weights are zero in blocks, of 16 or 32 outputs by 4 features at least, lose these when they
    are packed for `native`. Linears in floats whose stored weights are mostly zero become sparse products where that is
    faster for their zeros: `panels` and `rows` are kernels of ours, `columns` leaves out features that no output reads,
    `csr` is torch's.

    With `floats=bf16` linears and convolutions that stay in floats, whatever the reason, are calculated in bfloat16
    where oneDNN and the processor multiply it (AVX512_BF16 or AMX) and that is faster: operands have 8 bits of mantissa
    then, and what goes from one such layer straight to the next stays bfloat16. Sums and other results are float32.

    With `device=cuda` linears with quantized weights, or with zeros in blocks, become calls of kernels for a GPU, which
    need none to be there now: what each takes is predicted for `arch` and the rows of the example, or of `batch`, and
    a note says of every linear which kernel and why. Plugins may bring kernels. All other layers stay as they are.

    After it a graph does not train. The environment variable `FXCOMPRESS_WITHOUT` switches backends off.

    `details`: `lowered` maps each new call to its `kind`, `layers`, `backend` and the `microseconds` measured, sparse
    ones with their `density`; `left`
    maps layers that stay to the reason; `attention` is as `lowered`;
    `narrow` too, of layers in bfloat16;
    `held` lists layers whose weights are kept as floats, `unrounded` those that read activations as they are. With
    `device=cuda` `lowered`, and `dense` for linears that stay, have the predicted `microseconds` of every kernel, why
    others `refused`, and `until_rows`, from where on `then` is faster.
    """

    name = "lower"
    fidelity = "close"
    masks = "baked"
    device: Literal["cpu", "cuda"] = option("cpu", help="what the graph is to run on")
    backends: tuple[str, ...] = option((), help="backends or kernels to choose from; all where none are given")
    floats: Literal["float32", "bf16"] = option(
        "float32", help="on the CPU: what layers that stay in floats may be calculated in"
    )
    measure: bool = option(True, help="on the CPU: time the backends here; else a fixed order decides, nothing stays")
    arch: str | None = option(None, help="on cuda: sm_80, sm_89 or sm_90; by default the GPU at hand, else sm_90")
    batch: int = option(0, help="on cuda: batch size to choose for; by default that of the example", check=at_least(0))
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to lower; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    layers = statistic("layers that kernels calculate")
    products = statistic("calls that they became")
    attentions = statistic("calls of attention in floats that our kernel calculates")
    left = statistic("quantized and sparse layers left as they are")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        # Once: afterwards calls of kernels stand under other names in the place of what a pattern may mean.
        selected = set(context.select(module, self.targets, self.ignore))
        products = [node.name for node in multiply_unrounded(module, selected)]
        if self.device == "cuda":
            self._for_gpu(module, selected, context)
        else:
            self._for_cpu(module, selected, context)
        if products:
            names = listing([f"%{name}" for name in products])
            context.note(f"{names}: products of activations, calculated in floats; no kernel multiplies such bytes")
            context.details.setdefault("unrounded", []).extend(products)
        module.graph.eliminate_dead_code()
        propagate(module)
        look_up_owners_once(module)
        return module

    def _for_cpu(self, module: GraphModule, selected: set[Node], context: PassContext) -> None:
        self._tell_missing(context)
        if self.floats == "bf16" and not has_bf16():
            context.note("floats=bf16: this processor does not multiply bfloat16, or oneDNN is missing; all is float32")
        found = OnCpu(self.backends, self.measure, self.floats == "bf16").lower(module, selected)
        record(context, {**found.lowered, **found.narrow}, len(found.left), len(found.attention))
        context.details.update(
            lowered=found.lowered, left=found.left, attention=found.attention, held=found.held,
            unrounded=found.unrounded, narrow=found.narrow,
        )  # fmt: skip
        tell(context, found)

    def _for_gpu(self, module: GraphModule, selected: set[Node], context: PassContext) -> None:
        if self.floats == "bf16":
            context.note("floats=bf16 is for the CPU: on cuda layers of floats stay as they are")
        device = device_named(self.arch or at_hand() or ASSUMED)
        kernels = chosen_kernels(context.resources.kernels or KERNELS, self.backends)
        found = lower_for_gpu(module, selected, kernels, device, self.batch)
        record(context, found.lowered, len(found.left), 0)
        context.details.update(lowered=found.lowered, left=found.left, dense=found.dense, device=device.name)
        tell_gpu(context, found, device)

    def _tell_missing(self, context: PassContext) -> None:
        for name in self.backends:
            if name not in BACKENDS:
                raise PassFailed(f"there is no backend {name!r}", hint=suggestion(name, BACKENDS))
            if not available(name):
                context.note(f"{name} was asked for and is not there: the next best serves")
        reasons = {name: why_missing(name) for name in missing()}
        for why in dict.fromkeys(reasons.values()):
            context.note(f"{listing([name for name in reasons if reasons[name] == why])}: {why}")
        if available("native") and (reason := operators.why_missing()) is not None:
            context.note(f"native kernels are called by Python, which takes some microseconds a call: {reason}")


def record(context: PassContext, lowered: dict[str, dict[str, Any]], left: int, attentions: int) -> None:
    layers = sum(len(made["layers"]) for made in lowered.values())
    context.record(layers=layers, products=len(lowered), left=left, attentions=attentions)


def tell(context: PassContext, found: Outcome) -> None:
    """Note what was left alone and why, which weights are kept as floats too, and which activations are not rounded."""
    for why in dict.fromkeys(found.left.values()):
        names = [f"%{name}" for name, reason in found.left.items() if reason == why]
        context.note(f"{listing(names)}: left as it is, {why}")
    floats = [
        name for name, made in found.lowered.items() if made["backend"] == "float" and made["kind"] != "embedding"
    ]
    if names := [f"%{name}" for name in (*floats, *found.held)]:
        context.note(f"{listing(names)}: calculated in floats, with a copy of the weights as floats in memory")
    if found.unrounded:
        names = [f"%{name}" for name in found.unrounded]
        context.note(f"{listing(names)}: their activations are not rounded, that takes longer there than it saves")
    if found.narrow:
        names = [f"%{name}" for made in found.narrow.values() for name in made["layers"]]
        context.note(f"{listing(names)}: calculated in bfloat16")
    if not found.lowered and not found.left and not found.held and not found.narrow:
        context.note("no layer is quantized or sparse: there is nothing to lower")

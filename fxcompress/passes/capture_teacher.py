"""What a teacher answers, kept for students: as further results, in memory, or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch.fx import GraphModule

from fxcompress.capturing import Inputs, as_inputs
from fxcompress.contract import Pass, PassContext, above, at_least, option, statistic
from fxcompress.distributed import is_sharded
from fxcompress.errors import PassFailed
from fxcompress.graph.fingerprint import fingerprint
from fxcompress.teaching import LiveTeacher
from fxcompress.teaching.capturing import Tally, capture_answers
from fxcompress.teaching.digests import per_sample
from fxcompress.teaching.keyed import KeyedTeacher
from fxcompress.teaching.manifest import Manifest
from fxcompress.teaching.sinks import FirstRankSink, MemorySink
from fxcompress.teaching.taps import find_taps, tapped
from fxcompress.text import plural
from fxcompress.training.randomness import own_state, restore_own, seeded

_DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


@dataclass(frozen=True)
class CaptureTeacher(Pass):
    """Take the graph as it is here for the teacher, and keep what it answers.

    A tap is `PLACE` or `PLACE|TRANSFORM`. A place is a module path, a glob of paths (`*` for one step, `**` for
    several), the name of a node, or `output`, the model's result, and parts of that: `output.logits`. `PATH@1` is the
    second call of a module that is called twice, `PATH:1` the second of the values that it gives. Transforms are `pool`
    (the mean over places), `project:64` (a fixed random projection of the features), `topk:8` (the largest logits, and
    what all others come to), `cast:f16`; several follow each other: `layer3|pool|cast:f16`.

    `sink=memory` and `sink=disk` run the data once and leave the graph as it is. What is kept answers in
    `stage.details["teacher"]`, for the inputs that were captured and no others: each sample is known by a digest of its
    input tensors, so order and batches do not matter, and identical samples are kept once. In a folder,
    `fxcompress.teaching.CachedTeacher(folder)` reads it, in any number of processes. A capture that was killed goes on
    where it stopped when it is run again with the same folder.

    With `sink=outputs` the module gives a pair: what it gave before, and a dictionary of the taps.

    `details`: `capture` has samples, seconds, samples a second, and bytes of a sample.
    """

    name = "capture-teacher"
    fidelity = "exact"
    masks = "seen"
    adds_results = True
    taps: tuple[str, ...] = option(("output",), help="what is kept: places, with transforms")
    sink: Literal["outputs", "memory", "disk"] = option("memory", help="where answers go")
    to: str | None = option(None, help="folder of sink=disk")
    data: Literal["train", "calibration"] | None = option(
        None, help="which inputs are answered; by default those of train, calibration where there is none"
    )
    dtype: Literal["same", "f32", "f16", "bf16"] = option("same", help="in which numbers are kept")
    temperature: float = option(1.0, help="at which the tails of topk are summed up", check=above(0))
    shard: int = option(64, help="megabytes of answers in a file", check=at_least(1))
    samples = statistic("samples seen")
    answered = statistic("samples answered, identical ones once")
    bytes = statistic("bytes of the answers")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        if (self.to is not None) != (self.sink == "disk"):
            raise PassFailed(
                "sink=disk needs a folder, and nothing else does", hint="capture-teacher{sink=disk to=DIR}"
            )
        if self.sink == "outputs":
            return self._tapped(module)
        teacher = LiveTeacher(module, self.taps, temperature=self.temperature, share=True)
        with self._batches(context) as batches:
            first = next(batches, None)
            if first is None:
                raise PassFailed("there are no batches to answer", hint="a generator runs once: give a list")
            manifest = self._manifest(module, teacher, first)
            sink = self._sink(manifest)
            if isinstance(sink, FirstRankSink) and sink.resumed:
                context.note(f"went on from {plural(sink.resumed, 'sample')} in {self.to}")
            found, tally = capture_answers(
                teacher,
                chain([first], batches),
                sink,
                manifest,
                lambda line: context.say(f"      {line}"),
                sharded=self.data != "calibration" and context.train is not None and is_sharded(context.train),
            )
        self._tell(context, found, tally)
        return module

    def _tapped(self, module: GraphModule) -> GraphModule:
        if module.meta.get("taps"):
            raise PassFailed("the module gives taps already", hint="name all of them in one capture-teacher")
        taps = [tap.at(self.temperature) for tap in find_taps(module, self.taps)]
        made = tapped(module, taps)
        made.meta["taps"] = tuple(key for tap in taps for key in tap.keys)
        return made

    def _sink(self, manifest: Manifest) -> MemorySink | FirstRankSink:
        size = self.shard * 1_000_000
        return MemorySink(manifest, size) if self.to is None else FirstRankSink(Path(self.to), manifest, size)

    def _manifest(self, module: GraphModule, teacher: LiveTeacher, first: Inputs) -> Manifest:
        """Return what is captured, before anything is."""
        stored = _DTYPES.get(self.dtype)
        kept = {
            name: replace(one, stored=stored) if stored is not None and one.dtype.is_floating_point else one
            for name, one in teacher.kept.items()
        }
        taps = tuple(tap.name for tap in teacher.taps)
        return Manifest(fingerprint(module), taps, kept, per_sample(module, first), self.temperature)

    @contextmanager
    def _batches(self, context: PassContext) -> Iterator[Iterator[Inputs]]:
        """Give the inputs, without moving any generator on."""
        train = context.train
        if self.data == "train" and train is None:
            raise PassFailed(
                "there is no training data to answer",
                hint="give  fxc.compress(..., train=fxc.TrainingData(batches)), or take data=calibration",
            )
        given: Iterable[Any] | None = context.resources.calibration
        batches = context.calibration()
        if train is not None and self.data != "calibration":
            given, batches = train.batches, (as_inputs(inputs) for inputs, _ in train.batches)
        state = own_state(given or ())
        with seeded(context.seed):
            try:
                yield batches
            finally:
                restore_own(given or (), state)

    def _tell(self, context: PassContext, found: KeyedTeacher, tally: Tally) -> None:
        context.record(samples=tally.samples, answered=tally.answered, bytes=tally.bytes)
        context.details["teacher"] = found
        context.details["capture"] = {
            "samples": tally.samples,
            "answered": tally.answered,
            "seconds": tally.seconds,
            "samples_a_second": tally.rate,
            "bytes_a_sample": tally.bytes_a_sample,
        }
        context.say(f"      {tally}")

"""The target `fxc`: an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fxcompress.contract import Emitted, Target, option
from fxcompress.targets.artifact import save_artifact


@dataclass(frozen=True)
class Fxc(Target):
    """One file that `fxcompress.load` reads without executing anything that it brings.

    Weights, graph, example inputs, pipeline and plan are in it.
    """

    name = "fxc"
    suffixes = (".fxc",)
    allow: tuple[str, ...] = option((), help="operators of other libraries that the file may call: torchvision.nms")
    coding: Literal["none", "auto", "raw", "planes", "huffman", "gaps", "rans", "adaptive"] = option(
        "none", help="how tensors are coded; auto takes for each what makes it smallest, none leaves them as they are"
    )

    def save(self, emitted: Emitted, path: Path) -> None:
        save_artifact(
            path,
            emitted.module,
            pipeline=emitted.pipeline,
            inputs=emitted.inputs,
            plan=emitted.plan,
            allow=(*emitted.allow, *self.allow),
            coding=self.coding,
            progress=emitted.progress,
        )

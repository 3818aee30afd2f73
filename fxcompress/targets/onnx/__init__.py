"""The target `onnx`: a graph of ONNX operators whose quantized layers runtimes calculate in integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fxcompress.contract import Emitted, Target, at_least, option
from fxcompress.files import write_whole
from fxcompress.targets.onnx.rewriting import rewritten
from fxcompress.targets.onnx.translating import OLDEST_OPSET, translated


@dataclass(frozen=True)
class Onnx(Target):
    """A file for ONNX Runtime, OpenVINO and others, with QuantizeLinear and DequantizeLinear around quantized layers.

    Needs `pip install 'fxcompress[onnx]'`. Export before `lower`: runtimes fuse the quantized layers themselves. An
    open batch size stays open. Weights of 4 bits or less are stored in 4 bits. Where a convolution, or a linear of
    rows, has a static input, its bias is an int32 in steps of input scale times weight scale.

    ONNX has one range for a whole tensor where ranges are found as the model runs. With `dynamic=token` the ranges of
    tokens (`w8a8`) are written out in arithmetic: the results are those of the graph. `dynamic=tensor` takes ONNX's
    operator with one range: less exact, faster in ONNX Runtime.
    """

    name = "onnx"
    suffixes = (".onnx",)
    opset: int = option(21, help="version of the ONNX operators", check=at_least(OLDEST_OPSET))
    dynamic: Literal["token", "tensor"] = option("token", help="what shares a range that is found as the model runs")

    def save(self, emitted: Emitted, path: Path) -> None:
        content = self.content(emitted)
        write_whole(path, lambda file: file.write(content))

    def content(self, emitted: Emitted) -> bytes:
        """Return the bytes of the file.

        Raises:
            UsageError: a package is missing.
            ExportError: a node has no form in ONNX, or the file would have more than 2 GB.
        """
        return translated(rewritten(emitted.module, self.dynamic), emitted.inputs, self.opset)

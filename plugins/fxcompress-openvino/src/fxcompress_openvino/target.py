"""The target `openvino`: a graph as OpenVINO's intermediate representation, two files."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fxcompress as fxc
from fxcompress.errors import UsageError
from fxcompress.files import write_whole
from fxcompress.targets.onnx import Onnx


@dataclass(frozen=True)
class OpenVino(fxc.Target):
    """OpenVINO IR: a file `.xml` with the graph, and one of the same name with the suffix `.bin` with the weights.

    Needs `pip install 'fxcompress-openvino[openvino]'`. The graph goes by way of ONNX; what `lower` made has no form
    there. `fxcompress_openvino.load(path)` runs it.
    """

    name = "openvino"
    suffixes = (".xml",)

    def save(self, emitted: fxc.Emitted, path: Path) -> None:
        if path.suffix != ".xml":
            raise UsageError(f"{path.name} is no name for OpenVINO IR", hint=f"call it {path.stem}.xml")
        openvino = openvino_package()
        model = converted(openvino, Onnx().content(emitted))
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "model.xml"
            openvino.save_model(model, str(made), compress_to_fp16=False)
            # The weights first: a graph without them would be no model, and the old graph does not fit new ones.
            for source, place in ((made.with_suffix(".bin"), path.with_suffix(".bin")), (made, path)):
                content = source.read_bytes()
                write_whole(place, lambda file, content=content: file.write(content))  # type: ignore[misc]


def converted(openvino: Any, content: bytes) -> Any:
    """Return the `openvino.Model` of the bytes of an ONNX file.

    Raises:
        ExportError: OpenVINO does not take it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        try:
            return openvino.convert_model(str(path))
        except Exception as error:
            why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise fxc.ExportError(f"OpenVINO does not take the graph: {why}") from error


def openvino_package() -> Any:
    """Return the package `openvino`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise UsageError(
            f"target 'openvino' needs the package openvino, which is not there: {error}",
            hint="pip install 'fxcompress-openvino[openvino]'",
        ) from error

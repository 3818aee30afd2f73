"""The target `pt2`: a program of `torch.export`, or one that AOTInductor compiled."""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.export import ExportedProgram

from fxcompress.contract import Emitted, Target, option
from fxcompress.errors import ExportError
from fxcompress.files import write_whole
from fxcompress.targets.exporting import exported_program
from fxcompress.targets.zero_points import write_zero_points


@dataclass(frozen=True)
class Pt2(Target):
    """A file for `torch.export.load`, or with `compiled` one for `torch._inductor.aoti_load_package`.

    Where the graph was lowered or quantized, the program that loads it imports `fxcompress.kernels` before, which
    brings the operators. A compiled file holds machine code for this processor, and fixes the version of PyTorch.
    """

    name = "pt2"
    suffixes = (".pt2",)
    compiled: bool = option(False, help="compile with AOTInductor, which needs a C++ compiler")

    def save(self, emitted: Emitted, path: Path) -> None:
        content = self.content(emitted)
        write_whole(path, lambda file: file.write(content))

    def content(self, emitted: Emitted) -> bytes:
        """Return the bytes of the file.

        Raises:
            ExportError: the graph does not export, or does not compile.
        """
        if not self.compiled:
            return serialized(exported_program(emitted.module, emitted.inputs))
        module = copy.deepcopy(emitted.module)
        write_zero_points(module)
        return compiled(exported_program(module, emitted.inputs))


def serialized(program: ExportedProgram) -> bytes:
    """Return the bytes of a file for `torch.export.load`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def compiled(program: ExportedProgram) -> bytes:
    """Return the bytes of a file for `torch._inductor.aoti_load_package`.

    Raises:
        ExportError: it does not compile: no C++ compiler, or a graph that Inductor does not take.
    """
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        # Inductor warns of its own use of deprecated names: the user can do nothing about it.
        warnings.simplefilter("ignore")
        try:
            made = torch._inductor.aoti_compile_and_package(program, package_path=str(Path(folder) / "model.pt2"))
        except Exception as error:
            why = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"AOTInductor does not compile the graph: {type(error).__name__}: {why}",
                hint="see that a C++ compiler is installed; without compiled=true the file needs none",
            ) from error
        return Path(made).read_bytes()

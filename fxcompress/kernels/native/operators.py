"""Operators in C++, `boxed/*`, which call the native kernels without a way through Python.

A call of an operator that is implemented in Python takes 13 to 27 microseconds, longer than a small linear itself;
those in C++ take 2 to 6. They are compiled against the installed torch; where that fails, Python goes on serving.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import resources
from pathlib import Path

import torch

from fxcompress.kernels.native.build import FLAGS, BuildError, built, compiled


def use(wanted: bool) -> None:
    """Let the operators in C++ serve the backend `native`, or no more; where there are none, nothing happens."""
    # Nothing is compiled to be switched off.
    found = library() if wanted or library.cache_info().currsize else None
    if isinstance(found, ctypes.CDLL):
        found.fxc_use(int(wanted))


def why_missing() -> str | None:
    """Return why there are no operators in C++, None where there are."""
    found = library()
    return found if isinstance(found, str) else None


# Once a process: an operator is not registered twice.
@functools.cache
def library() -> ctypes.CDLL | str:
    """Return the operators, registered for the CPU, or in words why there are none."""
    try:
        path = _built()
        torch.ops.load_library(str(path))
        return ctypes.CDLL(str(path))
    except (BuildError, OSError) as error:
        return str(error)


def _built() -> Path:
    """Return the compiled operators, from the cache where they are there.

    Raises:
        BuildError: there are no kernels to call, or the compiler does not take torch's headers.
    """
    torchs = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    # The version takes part in the name of what is compiled.
    version = f"-DTORCH={torch.__version__}"
    flags = ("-std=c++20", *FLAGS, abi, version, f"-isystem{torchs / 'include'}")
    linked = (str(built()), f"-L{torchs / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torchs / 'lib'}")
    package = resources.files(__package__)
    with resources.as_file(package / "boxed") as folder, resources.as_file(package / "source") as kernels:
        return compiled("operators", folder / "operators.cpp", flags, linked, kernels)

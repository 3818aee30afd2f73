"""Compiling the kernels: once a machine, into a cache, and only where the processor and a compiler serve."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

import torch

CACHE = "FXCOMPRESS_CACHE"
COMPILERS = ("c++", "g++", "clang++")
SECONDS = 300
STANDARD = ("-std=c++17",)
FLAGS = (
    *("-O3", "-fPIC", "-fvisibility=hidden", "-march=x86-64-v4", "-mavx512vnni", "-mtune=native"),
    *("-fno-math-errno", "-fno-trapping-math", "-fopenmp"),
)


class BuildError(Exception):
    """Why there are no native kernels here."""


@functools.cache
def library() -> ctypes.CDLL | str:
    """Return the kernels, compiled where nobody has done it yet, or in words why there are none."""
    try:
        return ctypes.CDLL(str(built()))
    except (BuildError, OSError) as error:
        return str(error)


def kernels() -> ctypes.CDLL:
    """Return the kernels, which are known to be there."""
    found = library()
    assert isinstance(found, ctypes.CDLL), found
    return found


def built() -> Path:
    """Return the compiled kernels, from the cache where they are there.

    Raises:
        BuildError: the processor, the system or the compiler does not serve.
    """
    _demand_processor()
    with resources.as_file(resources.files(__package__) / "source") as folder:
        return compiled("native", folder / "kernels.cpp", (*STANDARD, *FLAGS), _openmp())


def compiled(name: str, source: Path, flags: tuple[str, ...], linked: tuple[str, ...], *others: Path) -> Path:
    """Return `source` compiled to a library, from the cache where it lies there.

    Args:
        source: includes files of its own folder, and of the folders `others`.
        linked: libraries, as words for the compiler.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    compiler = _compiler()
    texts = [path.read_bytes() for folder in (source.parent, *others) for path in sorted(folder.iterdir())]
    words = (*compiler, *flags, *linked, platform.machine())
    digest = hashlib.sha256(b"\0".join([*texts, *map(str.encode, words)])).hexdigest()[:16]
    made = cache() / f"{name}-{digest}.so"
    if not made.exists():
        _compile((*compiler, *flags, *(f"-I{folder}" for folder in others)), linked, source, made)
    return made


def cache() -> Path:
    """Return the folder for what is compiled: that of `FXCOMPRESS_CACHE`, or one in the user's cache."""
    given = os.environ.get(CACHE)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(home) / "fxcompress"


def _demand_processor() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise BuildError(f"they are written for Linux on x86-64, and this is {platform.system()} {platform.machine()}")
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.cpu._is_vnni_supported():
        raise BuildError("the processor has no AVX-512 with VNNI")


def _compiler() -> tuple[str, ...]:
    """Return the command of the C++ compiler: `CXX`, or the first that there is."""
    given = shlex.split(os.environ.get("CXX", ""))
    found = next((path for name in (given[:1] or COMPILERS) if (path := shutil.which(name))), None)
    if found is None:
        raise BuildError(f"there is no C++ compiler ({', '.join(given[:1] or COMPILERS)}; set CXX)")
    return (found, *given[1:])


def _openmp() -> tuple[str, ...]:
    """Return what to link for threads: the very library that torch has loaded, so that both share their threads."""
    folder = Path(torch.__file__).parent / "lib"
    found = sorted(folder.glob("libgomp*.so*"))
    return (str(found[0]), f"-Wl,-rpath,{folder}") if found else ("-fopenmp",)


def _compile(command: tuple[str, ...], libraries: tuple[str, ...], source: Path, made: Path) -> None:
    """Compile `source`; what is half done stands beside under another name."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        compiled, linked = Path(folder) / "kernels.o", Path(folder) / made.name
        _run((*command, "-c", "-o", str(compiled), str(source)))
        _run((*command, "-shared", "-o", str(linked), str(compiled), *libraries))
        linked.replace(made)


def _run(command: tuple[str, ...]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"the compiler takes more than {SECONDS} seconds") from None
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        raise BuildError(f"{command[0]} fails: {last}")

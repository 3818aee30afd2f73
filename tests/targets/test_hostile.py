"""No file does harm: what is made to do so is refused, runs nothing, takes little memory and little time."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from fxcompress.capturing import Inputs, capture
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact
from targets.hostile import CANARY, hostile_files

# What code would do to be of use to whoever wrote it. To read, and to compile the checked graph, is what loading does.
FORBIDDEN = (
    *(
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.putenv",
        "os.chmod",
    ),
    *("subprocess.Popen", "socket.", "ctypes.", "shutil.", "pickle.find_class", "urllib.Request", "webbrowser.open"),
)
MEGABYTE = 2**20


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x, *, scale):
        y = self.inner(x)
        first, second = y.split(2, 1)
        return {"y": y, "sum": first + second * scale}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    inputs = Inputs(torch.randn(3, 4), scale=torch.tensor(2.0))
    path = tmp_path_factory.mktemp("good") / "good.fxc"
    save_artifact(path, capture(Base(), inputs).module, pipeline="fold-bn")
    load_artifact(path)
    return path.read_bytes()


class Watch:
    """Notes what is done while it is on. An audit hook stays for good, so there is one, switched on and off."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple) -> None:
        if self.on:
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            imports = event == "import" and CANARY in str(args[0])
            runs = event == "exec" and not args[0].co_filename.startswith(
                ("<eval_with_key>", sys.prefix, sys.base_prefix)
            )
            if event.startswith(FORBIDDEN) or writes or imports or (runs and CANARY in str(args[0].co_consts)):
                self.seen.append(f"{event} {args}")

    @contextmanager
    def watching(self):
        self.seen.clear()
        self.on = True
        try:
            yield self.seen
        finally:
            self.on = False


@pytest.fixture(scope="module")
def watch():
    return Watch()


def high_water():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_there_are_enough_of_them(good):
    files = hostile_files(good)
    assert len(files) > 150
    assert len({data for _, data in files.values()}) == len(files)
    assert good not in {data for _, data in files.values()}


def test_no_hostile_file_does_harm(good, watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    before = high_water()
    failures = []
    for index, (name, (reason, data)) in enumerate(hostile_files(good).items()):
        path = folder / f"{index}.fxc"
        path.write_bytes(data)
        begin = time.perf_counter()
        with watch.watching() as seen:
            try:
                load_artifact(path)
                failures.append(f"{name} ({reason}) was loaded")
            except ArtifactError as error:
                if not error.hint or len(str(error)) > 2500:
                    failures.append(f"{name}: message of {len(str(error))} characters, hint {error.hint!r}")
        seconds = time.perf_counter() - begin
        if seen or seconds > 20:
            failures.append(f"{name} ({reason}) took {seconds:.1f} s and did {seen}")
    assert not failures, "\n".join(failures)
    assert list(tmp_path.iterdir()) == [folder], "no code was run"
    assert high_water() - before < 400 * MEGABYTE


def test_memory_is_bounded_by_the_size_of_the_file(good, tmp_path):
    path = tmp_path / "hostile.fxc"
    for name, (_, data) in hostile_files(good).items():
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(ArtifactError):
                load_artifact(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * MEGABYTE + 60 * len(data), f"{name}: {peak:,} bytes for a file of {len(data):,}"


def test_the_watch_sees_code_that_runs(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with watch.watching() as seen:
        exec(f"open({CANARY!r}, 'w').close()")
        os.system("true")
    assert len(seen) >= 2

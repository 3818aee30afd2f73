"""Where captured answers go: memory, or shards on disk that a thread writes while the teacher goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fxcompress.distributed import is_first, of_first, together
from fxcompress.errors import UsageError
from fxcompress.teaching.alone import alone_in
from fxcompress.teaching.cached import CachedTeacher
from fxcompress.teaching.digests import numbered
from fxcompress.teaching.keyed import KeyedTeacher, RememberedTeacher
from fxcompress.teaching.manifest import FILE, Manifest, Shard
from fxcompress.teaching.segments import Segment, alike, joined
from fxcompress.teaching.shards import OpenShard, write_index, write_shard

# A shard is closed when it has so many samples, however small their answers: what a kill can cost.
MOST_SAMPLES = 1 << 14


class Sink(Protocol):
    """Takes answers; `known` are the digests of the samples that it holds already."""

    known: set[bytes]

    def put(self, segment: Segment) -> None: ...

    def close(self, samples: int) -> KeyedTeacher:
        """Return the teacher that gives the answers, of which there were `samples`, identical ones among them."""

    def stop(self) -> None:
        """Let go of what is open, whether the capture came to its end or not."""


class Gathering:
    """Joins the answers to batches until they are enough for a shard."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.waiting: list[Segment] = []
        self.bytes = self.samples = 0

    def add(self, segment: Segment) -> list[Segment] | None:
        """Take in the answers to a batch; return all that waited where it is enough."""
        self.waiting.append(segment)
        self.bytes += segment.bytes
        self.samples += len(segment)
        return self.take() if self.bytes >= self.most_bytes or self.samples >= MOST_SAMPLES else None

    def take(self) -> list[Segment]:
        """Return all that waits."""
        found, self.waiting = self.waiting, []
        self.bytes = self.samples = 0
        return found


class MemorySink:
    """Keeps answers in memory."""

    def __init__(self, manifest: Manifest, most_bytes: int) -> None:
        self.manifest = manifest
        self.known: set[bytes] = set()
        self.segments: list[Segment] = []
        self.gathering = Gathering(most_bytes)

    def put(self, segment: Segment) -> None:
        self.segments += joined(self.gathering.add(segment) or ())

    def close(self, samples: int) -> RememberedTeacher:
        self.segments += joined(self.gathering.take())
        return RememberedTeacher(self.manifest.kept, self.manifest.batched, self.segments, self.manifest.temperature)

    def stop(self) -> None:
        pass


class DiskSink:
    """Writes answers into a folder; goes on where an earlier capture of the same teacher stopped.

    Args:
        folder: made where it is missing.
        manifest: what is captured.
        most_bytes: of answers in a shard.

    Raises:
        UsageError: the folder holds another capture, or takes no files.
        ArtifactError: what it holds is damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest, most_bytes: int) -> None:
        self.folder = folder
        self.gathering = Gathering(most_bytes)
        self.held = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(alone_in(folder))
            self._begin(manifest)
            self.held = stack.pop_all()

    def _begin(self, manifest: Manifest) -> None:
        """Take up what the folder holds of this capture."""
        folder = self.folder
        self.manifest = self._begun(manifest)
        self.digests: list[np.ndarray[Any, Any]] = []
        self.known: set[bytes] = set()
        for number, inner in self.manifest.segments:
            path = folder / Shard.name(number)
            self._remember(OpenShard(path, self.manifest.shards[number], check=inner == 0).digests(inner))
        self.resumed = len(self.known)
        self.writer = _Writer(self._write)

    def put(self, segment: Segment) -> None:
        full = self.gathering.add(segment)
        if full is not None:
            self.writer.put(full)

    def close(self, samples: int) -> CachedTeacher:
        rest = self.gathering.take()
        if rest:
            self.writer.put(rest)
        self.writer.close()
        index = write_index(self.folder, *numbered(self.digests))
        self.manifest = replace(self.manifest, index=index, samples=samples)
        self.manifest.write(self.folder)
        return CachedTeacher(self.folder, check=False)

    def stop(self) -> None:
        self.writer.stop()
        self.held.close()

    def _begun(self, manifest: Manifest) -> Manifest:
        """Return what the folder holds of this capture, the manifest as it is where it holds nothing."""
        if not (self.folder / FILE).exists():
            if any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise UsageError(f"{self.folder} holds other files", hint="name an empty folder, or a new one")
            manifest.write(self.folder)
            return manifest
        found = Manifest.read(self.folder)
        other = manifest.differs(found)
        if other is not None:
            raise UsageError(
                f"{self.folder} holds another capture: {other}", hint="name another folder, or remove this one"
            )
        for partial in self.folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        return replace(found, index=None)

    def _remember(self, digests: np.ndarray[Any, Any]) -> None:
        self.digests.append(digests)
        self.known.update(map(bytes, digests))

    def _write(self, segments: list[Segment]) -> None:
        """Write a shard, then the manifest that knows it."""
        shard = write_shard(self.folder, len(self.manifest.shards), segments)
        self.manifest = self.manifest.with_shard(shard)
        self.manifest.write(self.folder)
        self.digests += [np.concatenate([one.digests for one in run]) for run in alike(segments)]


class FirstRankSink:
    """Writes on the first rank into a folder that all ranks see, and keeps what is known in step on the others."""

    def __init__(self, folder: Path, manifest: Manifest, most_bytes: int) -> None:
        self.folder = folder
        self.sink: DiskSink | None = None
        with together():
            self.sink = DiskSink(folder, manifest, most_bytes) if is_first() else None
        self.known = of_first(None if self.sink is None else self.sink.known)
        self.resumed = len(self.known)

    def put(self, segment: Segment) -> None:
        if self.sink is not None:
            self.sink.put(segment)

    def close(self, samples: int) -> CachedTeacher:
        found = None
        with together():
            found = None if self.sink is None else self.sink.close(samples)
        with together():
            return found or CachedTeacher(self.folder, check=False)

    def stop(self) -> None:
        if self.sink is not None:
            self.sink.stop()


class _Writer:
    """Writes shards in a thread, one after the other; who hands one over waits where two wait already."""

    def __init__(self, write: Callable[[list[Segment]], None]) -> None:
        self.write = write
        self.pool = ThreadPoolExecutor(1, "fxcompress-teacher")
        self.waiting: deque[Future[None]] = deque()

    def put(self, segments: list[Segment]) -> None:
        """Have `segments` written; what failed before is raised here."""
        if len(self.waiting) == 2:
            self.waiting.popleft().result()
        self.waiting.append(self.pool.submit(self.write, segments))

    def close(self) -> None:
        """Wait for what is under way; raise what failed."""
        while self.waiting:
            self.waiting.popleft().result()

    def stop(self) -> None:
        """End the thread; what has not begun is left out."""
        self.pool.shutdown(cancel_futures=True)

"""A teacher from disk: the answers that `capture-teacher` wrote, without the model that gave them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule

from fxcompress.errors import ArtifactError, UsageError
from fxcompress.graph.fingerprint import fingerprint
from fxcompress.teaching.digests import Index
from fxcompress.teaching.keyed import KeyedTeacher
from fxcompress.teaching.manifest import Manifest, Shard
from fxcompress.teaching.shards import INDEX, OpenShard

# Shards that are kept open at a time.
OPEN = 64


class CachedTeacher(KeyedTeacher):
    """Answers from a folder that `capture-teacher` wrote. Any number of them may read one folder.

    Args:
        folder: that of the capture.
        of: the teacher that is meant, a graph or its fingerprint; None for whichever it was.
        check: compare the digest of each shard when it is first opened.

    Attributes:
        manifest: what was captured, and of whom.

    Raises:
        ArtifactError: the folder holds no complete capture, or a shard of it is damaged.
        UsageError: it is the capture of another teacher.
    """

    def __init__(self, folder: str | Path, of: str | GraphModule | None = None, *, check: bool = True) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self._check_teacher(of)
        index = self.manifest.index
        if index is None:
            raise ArtifactError(
                f"the capture in {folder} did not come to its end", hint="run it once more: it goes on where it stopped"
            )
        self.check = check
        self.checked: set[int] = set()
        self.open: OrderedDict[int, OpenShard] = OrderedDict()
        self.segments = self.manifest.segments
        held = OpenShard(self.folder / INDEX, index, check=check)
        where = Index(held.digests(0), held.places())
        super().__init__(self.manifest.kept, self.manifest.batched, where, str(folder), self.manifest.temperature)

    def tensor(self, segment: int, name: str) -> torch.Tensor:
        number, inner = self.segments[segment]
        return self.shard(number).tensor(inner, name)

    def shard(self, number: int) -> OpenShard:
        """Return a shard; those that were used last stay open.

        Raises:
            ArtifactError: it is damaged.
        """
        if number not in self.open:
            check, path = self.check and number not in self.checked, self.folder / Shard.name(number)
            self.open[number] = OpenShard(path, self.manifest.shards[number], check=check)
            self.checked.add(number)
        self.open.move_to_end(number)
        if len(self.open) > OPEN:
            self.open.popitem(last=False)
        return self.open[number]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files out, so that a worker process opens its own."""
        return {**self.__dict__, "open": OrderedDict()}

    def _check_teacher(self, of: str | GraphModule | None) -> None:
        if of is None:
            return
        wanted = of if isinstance(of, str) else fingerprint(of)
        if wanted != self.manifest.teacher:
            raise UsageError(
                f"{self.folder} holds the answers of another teacher: {self.manifest.teacher[:12]}, not {wanted[:12]}",
                hint="capture this teacher into a folder of its own",
            )

"""One file of captured answers: safetensors, written whole, checked when it is first read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from fxcompress.errors import ArtifactError
from fxcompress.teaching.digests import WIDTH
from fxcompress.teaching.manifest import FORMAT, Shard
from fxcompress.teaching.segments import Segment, alike
from fxcompress.teaching.streaming import Pieces, write_pieces

# Digests and positions of the samples of a segment stand beside its answers; no answer has such a name.
_DIGESTS, _IDS, _PLACES = "#inputs", "#ids", "#places"
INDEX = "index.safetensors"


def write_shard(folder: Path, number: int, segments: Sequence[Segment]) -> Shard:
    """Write `segments` as shard `number`, those with the same shapes as one, and return what the manifest says of it.

    Raises:
        UsageError: the folder takes no files.
    """
    tensors: dict[str, Pieces] = {}
    runs = alike(segments)
    for index, run in enumerate(runs):
        tensors |= {f"{index}/{name}": [one.answers[name] for one in run] for name in run[0].answers}
        tensors[f"{index}/{_DIGESTS}"] = [torch.tensor(one.digests) for one in run]
        tensors[f"{index}/{_IDS}"] = [torch.from_numpy(one.ids) for one in run]
    return _written(folder / Shard.name(number), tensors, tuple(sum(map(len, run)) for run in runs))


def write_index(folder: Path, digests: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> Shard:
    """Write where each sample is, and return what the manifest says of it; see `Index`."""
    tensors = {f"0/{_DIGESTS}": [torch.from_numpy(digests)], f"0/{_PLACES}": [torch.from_numpy(places)]}
    return _written(folder / INDEX, tensors, (len(digests),))


def _written(path: Path, tensors: Mapping[str, Pieces], counts: tuple[int, ...]) -> Shard:
    size, digest = write_pieces(path, tensors, {"format": FORMAT})
    return Shard(digest, size, counts)


class OpenShard:
    """A shard, or the index, that is read, mapped into memory: only what is asked for is brought in.

    Args:
        path: of the file.
        shard: what the manifest says of it.
        check: compare the digest of the whole file first.

    Raises:
        ArtifactError: the file is missing, or not the one that was written.
    """

    def __init__(self, path: Path, shard: Shard, *, check: bool) -> None:
        self.path = path
        self.shard = shard
        try:
            size = self.path.stat().st_size
            if size != shard.bytes:
                raise self._damaged(f"it has {size:,} bytes where {shard.bytes:,} were written")
            if check and _digest_of(self.path) != shard.digest:
                raise self._damaged("its digest is not that of what was written")
            self.file = safe_open(self.path, "pt")
        except (OSError, SafetensorError) as error:
            raise self._damaged(str(error)) from error

    def tensor(self, segment: int, name: str) -> torch.Tensor:
        """Return the answers of a segment by name, [samples, ...], as a view of the file."""
        try:
            found: torch.Tensor = self.file.get_tensor(f"{segment}/{name}")
        except SafetensorError as error:
            raise self._damaged(str(error)) from error
        if found.dim() == 0 or len(found) != self.shard.segments[segment]:
            raise self._damaged(f"segment {segment} holds {list(found.shape)} under {name!r}")
        return found

    def digests(self, segment: int) -> np.ndarray[Any, Any]:
        """Return the digests of the samples of a segment, uint8 [samples, 16]."""
        found = self.tensor(segment, _DIGESTS)
        if found.dtype != torch.uint8 or found.shape[1:] != (WIDTH,):
            raise self._damaged(f"segment {segment} has no digests of its samples")
        return found.numpy().copy()

    def places(self) -> np.ndarray[Any, Any]:
        """Return the segments and rows of the samples of the index, int64 [samples, 2]."""
        found = self.tensor(0, _PLACES)
        if found.dtype != torch.int64 or found.shape[1:] != (2,):
            raise self._damaged("it has no places of samples")
        return found.numpy().copy()

    def _damaged(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self.path} is damaged: {why}", hint="remove the folder and capture anew")


def _digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()

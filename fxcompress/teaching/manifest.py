"""What a folder of captured answers says of itself: `manifest.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fxcompress.errors import ArtifactError
from fxcompress.files import write_text
from fxcompress.teaching.segments import Kept

FORMAT = "fxcompress-teacher/1"
FILE = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One file of answers.

    Attributes:
        digest: blake2b of the file, 16 bytes in hexadecimal.
        bytes: of the file.
        segments: how many samples each of its segments has.
    """

    digest: str
    bytes: int
    segments: tuple[int, ...]

    @staticmethod
    def name(number: int) -> str:
        """Return the name of the file of a shard."""
        return f"{number:05}.safetensors"


@dataclass(frozen=True)
class Manifest:
    """What was captured, of whom, and in which files.

    Attributes:
        teacher: the fingerprint of graph and weights.
        taps: the taps as text, with their transforms.
        kept: how each answer is kept, by its name.
        batched: which of the values of a call hold a row for each sample.
        temperature: that of the tails of logits.
        shards: the files that are complete.
        samples: how many samples were seen; identical ones are kept once.
        index: the file that tells where each sample is; None while the capture did not come to the end of its data.
    """

    teacher: str
    taps: tuple[str, ...]
    kept: dict[str, Kept]
    batched: tuple[bool, ...]
    temperature: float
    shards: tuple[Shard, ...] = ()
    samples: int = 0
    index: Shard | None = None

    def differs(self, found: Manifest) -> str | None:
        """Return in what `found`, in a folder, is another capture than this, None where it is the same."""
        for name, word in _SETTINGS.items():
            mine, other = getattr(self, name), getattr(found, name)
            if mine != other:
                return f"{word} {_shown(other)} and not {_shown(mine)}"
        return None

    def with_shard(self, shard: Shard) -> Manifest:
        return replace(self, shards=(*self.shards, shard))

    @property
    def segments(self) -> list[tuple[int, int]]:
        """The segments by their numbers over all shards: the shard, and which of its segments."""
        return [(number, inner) for number, shard in enumerate(self.shards) for inner in range(len(shard.segments))]

    def write(self, folder: Path) -> None:
        """Write the manifest over the one before."""
        facts = asdict(self)
        facts["kept"] = {
            name: {"dtype": _word(kept.dtype), "stored": _word(kept.stored)} for name, kept in self.kept.items()
        }
        rows = sum(sum(shard.segments) for shard in self.shards)
        total = {"kept_samples": rows, "bytes": sum(shard.bytes for shard in self.shards)}
        write_text(folder / FILE, json.dumps({"format": FORMAT, **facts, **total}, indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Return the manifest of a folder.

        Raises:
            ArtifactError: there is none, or it is damaged or of another version.
        """
        path = folder / FILE
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            return _read(facts)
        except FileNotFoundError:
            raise ArtifactError(
                f"there is no {path}", hint="capture-teacher{sink=disk to=FOLDER} writes such a folder"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path} does not read: {error}", hint="remove the folder and capture anew") from error


_SETTINGS = {
    "teacher": "the teacher is",
    "taps": "the taps are",
    "temperature": "the temperature is",
    "kept": "the dtypes are",
    "batched": "the inputs with a row for each sample are",
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(kept.stored)}" for name, kept in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return value[:12] if isinstance(value, str) else str(value)


def _read(facts: Mapping[str, Any]) -> Manifest:
    kept = {str(name): Kept(_dtype(row["dtype"]), _dtype(row["stored"])) for name, row in facts["kept"].items()}
    return Manifest(
        teacher=str(facts["teacher"]),
        taps=tuple(map(str, facts["taps"])),
        kept=kept,
        batched=tuple(map(bool, facts["batched"])),
        temperature=float(facts["temperature"]),
        shards=tuple(map(_shard, facts["shards"])),
        samples=int(facts["samples"]),
        index=None if facts["index"] is None else _shard(facts["index"]),
    )


def _shard(row: Mapping[str, Any]) -> Shard:
    return Shard(str(row["digest"]), int(row["bytes"]), tuple(map(int, row["segments"])))


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(word: str) -> torch.dtype:
    found = getattr(torch, str(word), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"there is no dtype {word!r}")
    return found

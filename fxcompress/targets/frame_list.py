"""What a document says of the frames of a tensor: coder and bytes of each."""

from __future__ import annotations

from typing import Any

from fxcompress.coding import CODERS
from fxcompress.errors import ArtifactError
from fxcompress.targets.json_text import checked, short

FRAME = 1 << 21  # elements; part of the format
Frames = tuple[tuple[str, int], ...]


def element_width(itemsize: int) -> int:
    """Return the bytes of what coders take for an element: halves of elements of sixteen bytes."""
    return min(itemsize, 8)


def frames_from_json(value: Any, name: str, nbytes: int, itemsize: int) -> Frames:
    """Return the frames that a document lists for a tensor of `nbytes`; sizes are bounded by those of the elements."""
    width = element_width(itemsize)
    count = -(-nbytes // width // FRAME)
    if len(checked(value, list, f"the frames of the tensor {short(name)}")) != count:
        raise ArtifactError(f"the tensor {short(name)} has {len(value)} frames where it should have {count}")
    return tuple(
        _frame(one, name, min(FRAME * width, nbytes - index * FRAME * width)) for index, one in enumerate(value)
    )


def _frame(value: Any, name: str, nbytes: int) -> tuple[str, int]:
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or type(value[1]) is not int:
        raise ArtifactError(f"a frame of the tensor {short(name)} is no coder with a size")
    coder, size = value
    if coder not in CODERS:
        hint = "load it with a later fxcompress"
        raise ArtifactError(f"the tensor {short(name)} is coded by {short(coder)}, which is not known here", hint=hint)
    if not 0 < size <= nbytes or (coder == "raw" and size != nbytes):
        raise ArtifactError(f"a frame of the tensor {short(name)} has {size:,} bytes for {nbytes:,}")
    return coder, size

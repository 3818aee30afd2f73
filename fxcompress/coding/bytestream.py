"""Numbers as bytes: what coders write their parameters with, and a reader that trusts nothing it is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.errors import ArtifactError

MAX_VARINT_BYTES = 9


def varint(number: int) -> bytes:
    """Return a number from 0 as bytes of seven bits, the lowest first; the eighth bit says that more follow."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


class Reader:
    """Reads coded bytes from the front; each read is bounded, and none goes beyond the end.

    Args:
        data: all bytes of one coded stream.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data).cast("B")
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._place

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= self.left:
            raise ArtifactError(f"coded bytes end too soon: {count:,} wanted, {self.left:,} left")
        self._place += count
        return self._data[self._place - count : self._place]

    def byte(self, most: int = 255) -> int:
        found = self.take(1)[0]
        if found > most:
            raise ArtifactError(f"a parameter of coded bytes is {found} where at most {most} is possible")
        return found

    def varint(self, most: int) -> int:
        """Return a number of at most `most`, spelled in the one shortest way."""
        number = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte()
            number |= (byte & 127) << 7 * index
            if byte < 128:
                if number > most or (byte == 0 and index):
                    raise ArtifactError(f"a number of coded bytes is {number:,} where at most {most:,} is possible")
                return number
        raise ArtifactError("a number of coded bytes does not end")

    def array(self, dtype: str, count: int) -> NDArray[np.generic]:
        """Return `count` numbers of a little-endian dtype."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def rest(self) -> memoryview:
        return self.take(self.left)

    def end(self) -> None:
        if self.left:
            raise ArtifactError(f"coded bytes go on where they should end: {self.left:,} are left")

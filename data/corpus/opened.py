"""Opening files, decompressed as their last suffix says, and never more than is sane."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO

from typing_extensions import Buffer, override

COMPRESSION_SUFFIXES = frozenset({".gz", ".zst", ".bz2", ".xz"})
# Text compresses 3 to 10 times, logs 50; what expands beyond this is a bomb or no text. Small files may expand more.
MAX_EXPANSION = 200
FREE_BYTES = 64 << 20

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged or hostile file raises."""


class ExpandsTooFarError(OSError):
    """A compressed file holds more than `MAX_EXPANSION` times its size."""


def opened(path: Path) -> BinaryIO:
    """Open a file for reading its decompressed bytes.

    Raises:
        OSError: it cannot be opened; while reading, one of `BROKEN`.
    """
    suffix = path.suffix.lower()
    if suffix not in COMPRESSION_SUFFIXES:
        return path.open("rb")
    limit = FREE_BYTES + MAX_EXPANSION * path.stat().st_size
    return io.BufferedReader(_Bounded(_decompressed(path, suffix), limit), buffer_size=1 << 17)


def _decompressed(path: Path, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    if suffix == ".bz2":
        return io.BufferedReader(bz2.BZ2File(path, "rb"))
    if suffix == ".xz":
        return io.BufferedReader(lzma.LZMAFile(path, "rb"))
    return _zstd(path)


def _zstd(path: Path) -> BinaryIO:
    """Arrow's reader: the usual package's takes a frame that was cut short for a whole one, and says nothing."""
    import pyarrow  # only here: it takes 0.2 s

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


class _Bounded(io.RawIOBase):
    """A stream that refuses to go beyond `limit` bytes."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._left = stream, limit

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        content = self._stream.read(len(view))
        self._left -= len(content)
        if self._left < 0:
            raise ExpandsTooFarError(f"expands more than {MAX_EXPANSION} times")
        view[: len(content)] = content
        return len(content)

    @override
    def close(self) -> None:
        self._stream.close()
        super().close()

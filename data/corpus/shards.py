"""Writing a split: token shards with their checksums, and where each document ends. Staged, flushed, fsynced."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from data.corpus.manifest import BLOCK_BYTES, DomainCount, FileRef, Shard, Split, file_ref
from data.durable import write_atomic

SHARD_TOKENS = 1 << 24  # 32 MiB in two-byte ids: a changed shard is named closely, and no file is large to hash or move


class SplitWriter:
    """Takes documents in order and leaves `NAME-00000.bin`, ... and `NAME-ends.bin` in `folder`."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype[np.unsignedinteger]) -> None:
        self._folder, self._name, self._dtype = folder, name, dtype
        self._shards: list[Shard] = []
        self._waiting: list[NDArray[np.unsignedinteger]] = []
        self._num_waiting = 0
        self._ends: list[NDArray[np.int64]] = []
        self._num_tokens = 0

    def write(self, tokens: NDArray[np.unsignedinteger], lengths: NDArray[np.int64]) -> None:
        """Add documents of `lengths` tokens that stand one after the other in `tokens`."""
        self._ends.append(self._num_tokens + np.cumsum(lengths))
        self._num_tokens += len(tokens)
        self._waiting.append(tokens)
        self._num_waiting += len(tokens)
        while self._num_waiting >= SHARD_TOKENS:
            self._flush(SHARD_TOKENS)

    def finish(self, domains: Iterable[DomainCount]) -> Split:
        """Write what is left and return the split."""
        if self._num_waiting:
            self._flush(self._num_waiting)
        ends = np.concatenate([np.empty(0, np.int64), *self._ends]).astype("<i8")
        ends_name = f"{self._name}-ends.bin"
        write_atomic(self._folder / ends_name, ends.tobytes())
        counts = tuple(domains)
        return Split(
            num_documents=len(ends),
            num_tokens=self._num_tokens,
            num_bytes=sum(count.num_bytes for count in counts),
            shards=tuple(self._shards),
            document_ends=file_ref(self._folder, ends_name),
            domains=counts,
        )

    def _flush(self, num_tokens: int) -> None:
        everything = np.concatenate(self._waiting)
        content = everything[:num_tokens].astype(self._dtype).tobytes()
        self._waiting, self._num_waiting = [everything[num_tokens:]], len(everything) - num_tokens
        name = f"{self._name}-{len(self._shards):05d}.bin"
        write_atomic(self._folder / name, content)
        blocks = (content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES))
        self._shards.append(
            Shard(
                file=FileRef(name=name, num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()),
                num_tokens=num_tokens,
                block_xxh3=tuple(xxhash.xxh3_64_hexdigest(block) for block in blocks),
            )
        )


class DurableFile:
    """A new file written piece by piece, flushed and fsynced when closed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> BinaryIO:
        self._file = self._path.open("wb")
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

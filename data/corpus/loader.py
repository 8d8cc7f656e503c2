"""Batches as a pure function of (manifest, seed, global sample index): nothing to save, nothing to restore.

Which window sample g of the run reads is arithmetic (`mixture.SampleOrder`); ranks, micro-batches and restarts only
choose which g they ask for. The state of a run's data is the number of samples it has taken.
"""

from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from data.corpus.manifest import BLOCK_BYTES, FileRef, Manifest, Shard, Split
from data.corpus.mixture import SampleOrder
from data.errors import UserError

DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


class TokenBatches:
    """Windows of `seq_len + 1` tokens (inputs and shifted targets share all but one) of a corpus folder.

    Consecutive windows overlap by one token, so every token but the first is predicted once an epoch. Documents follow
    each other without padding, separated by the end-of-text id. Each block is checked when it is first read.

    Raises:
        UserError: a shard is missing, truncated or changed (when opened or read), or too short for one window.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, seed: int, seq_len: int, *, unique_fraction: float = 1.0
    ) -> None:
        self._train = TokenArray(folder, manifest.train, DTYPES[manifest.dtype])
        self._heldout = TokenArray(folder, manifest.heldout, DTYPES[manifest.dtype])
        self._token_bytes = _read(folder, manifest.tokenizer.token_bytes, np.dtype("<u2"))
        self._document_ends = _map(folder, manifest.train.document_ends, np.dtype("<i8"))
        self._heldout_ends = _map(folder, manifest.heldout.document_ends, np.dtype("<i8"))
        self._seq_len = seq_len
        self._order = SampleOrder(manifest.stretches, seed=seed, seq_len=seq_len, unique_fraction=unique_fraction)

    @property
    def samples_per_epoch(self) -> int:
        """Windows there are to read once."""
        return self._order.samples_per_epoch

    def batch(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return `num_samples` samples of the run from `first_sample` on, shape (num_samples, seq_len + 1)."""
        return self._train.gather(self.starts(first_sample, num_samples), self._seq_len + 1)

    def starts(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return the place in the training tokens where each of those samples starts, shape (num_samples,)."""
        return self._order.starts(np.arange(first_sample, first_sample + num_samples))

    def documents(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return the document each token of those samples belongs to, shape (num_samples, seq_len + 1).

        For masks that keep attention inside a document, and for lineage: line n of documents.jsonl that is in training.
        """
        places = self.starts(first_sample, num_samples)[:, None] + np.arange(self._seq_len + 1)
        return np.searchsorted(self._document_ends, places, side="right").astype(np.int64)

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[NDArray[np.int64], int]:
        """Return held-out windows, shape (n, seq_len + 1), and the text bytes of their predicted tokens.

        The windows are spread evenly over the held-out text, which is laid out by source and domain, so every domain is
        there by its share. n is `num_sequences`, or all there are. nats / (num_bytes ln 2) is exact bits per byte.

        Raises:
            UserError: the held-out text is shorter than one window.
        """
        tokens = self._heldout.gather(self._heldout_starts(num_sequences, seq_len), seq_len + 1)
        return tokens, int(self._token_bytes[tokens[:, 1:]].sum())

    def heldout_documents(self, num_sequences: int, seq_len: int) -> NDArray[np.int64]:
        """Return the document each token of `heldout`'s windows belongs to, in the same shape."""
        places = self._heldout_starts(num_sequences, seq_len)[:, None] + np.arange(seq_len + 1)
        return np.searchsorted(self._heldout_ends, places, side="right").astype(np.int64)

    def _heldout_starts(self, num_sequences: int, seq_len: int) -> NDArray[np.int64]:
        available = num_windows(self._heldout.num_tokens, seq_len)
        if available < 1:
            raise UserError(
                f"{self._heldout.num_tokens} held-out tokens",
                expected=f"at least {seq_len + 1}, one window",
                next_step="more text, or a shorter sequence",
            )
        number = min(num_sequences, available)
        starts: NDArray[np.int64] = np.arange(number) * available // number * seq_len
        return starts


def num_windows(num_tokens: int, seq_len: int) -> int:
    """Windows of `seq_len` predicted tokens in a text of `num_tokens`."""
    return max(0, (num_tokens - 1) // seq_len)


class TokenArray:
    """The tokens of a split, over its shards, verified block by block as they are read."""

    def __init__(self, folder: Path, split: Split, dtype: np.dtype[np.integer]) -> None:
        self.num_tokens = split.num_tokens
        self._folder = folder
        self._shards = split.shards
        self._maps = [_map(folder, shard.file, dtype) for shard in split.shards]
        self._is_checked = [np.zeros(len(shard.block_xxh3), dtype=np.bool_) for shard in split.shards]
        self._ends = np.cumsum([shard.num_tokens for shard in split.shards])
        self._firsts = self._ends - [shard.num_tokens for shard in split.shards]
        self._item_bytes = dtype.itemsize

    def gather(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Return the tokens [start, start + length) of each of `starts`, shape (len(starts), length)."""
        tokens = np.empty((len(starts), length), dtype=np.int64)
        first = np.searchsorted(self._ends, starts, side="right")
        is_whole = first == np.searchsorted(self._ends, starts + length - 1, side="right")
        for shard in np.unique(first[is_whole]).tolist():
            rows = np.flatnonzero(is_whole & (first == shard))
            offsets = starts[rows] - self._firsts[shard]
            self._check(shard, offsets, length)
            tokens[rows] = self._maps[shard][offsets[:, None] + np.arange(length)]
        for row in np.flatnonzero(~is_whole).tolist():
            tokens[row] = self._across(int(starts[row]), length, int(first[row]))
        return tokens

    def _across(self, start: int, length: int, shard: int) -> NDArray[np.int64]:
        """The tokens [start, start + length) that begin in `shard` and end in a later one."""
        pieces: list[NDArray[np.integer]] = []
        end = start + length
        while start < end:
            stop = min(end, int(self._ends[shard]))
            offset = start - int(self._firsts[shard])
            self._check(shard, np.array([offset]), stop - start)
            pieces.append(self._maps[shard][offset : offset + stop - start])
            start, shard = stop, shard + 1
        return np.concatenate(pieces).astype(np.int64)

    def _check(self, shard: int, offsets: NDArray[np.int64], length: int) -> None:
        """Compare the blocks under the stretches from `offsets` with their checksums, each once."""
        first = offsets * self._item_bytes // BLOCK_BYTES
        last = ((offsets + length) * self._item_bytes - 1) // BLOCK_BYTES
        is_checked = self._is_checked[shard]
        if is_checked[first].all() and is_checked[last].all() and (last - first).max() < 2:
            return
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            for block in range(begin, end + 1):
                if not is_checked[block]:
                    _check_block(self._folder, self._shards[shard], block, self._maps[shard])
                    is_checked[block] = True


def _check_block(folder: Path, shard: Shard, block: int, tokens: NDArray[np.integer]) -> None:
    content = tokens.view(np.uint8)[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
    found = xxhash.xxh3_64_hexdigest(content.tobytes())
    if found != shard.block_xxh3[block]:
        raise UserError(
            f"{folder / shard.file.name} has changed: block {block}: {shard.block_xxh3[block]} -> {found}",
            next_step="isoplan corpus verify, then build the corpus again",
        )


def _map(folder: Path, file: FileRef, dtype: np.dtype[np.integer]) -> NDArray[np.integer]:
    path = folder / file.name
    found = path.stat().st_size if path.is_file() else "missing"
    if found != file.num_bytes:
        raise UserError(f"{path}: {file.num_bytes} bytes -> {found}", next_step="build the corpus again")
    # A plain view: the memmap class costs 10 us on every slice.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if file.num_bytes else np.empty(0, dtype=dtype)


def _read(folder: Path, file: FileRef, dtype: np.dtype[np.integer]) -> NDArray[np.integer]:
    return np.array(_map(folder, file, dtype))

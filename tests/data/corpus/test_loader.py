"""Batches are a pure function of the global sample index."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.corpus.bpe import Tokenizer
from data.corpus.build import build
from data.corpus.loader import TokenBatches, num_windows
from data.corpus.manifest import BuildConfig, Manifest, load_manifest
from data.corpus.order import permuted
from data.errors import UserError

UNTIMED = settings(deadline=None, max_examples=20)  # wall time of shared cores is no property of the code
SEQ_LEN = 16


@pytest.fixture(scope="session")
def batches(corpus_folder: Path, manifest: Manifest) -> TokenBatches:
    return TokenBatches(corpus_folder, manifest, 7, SEQ_LEN)


@UNTIMED
@given(size=st.integers(1, 5000), key=st.integers(0, 2**64 - 1))
def test_the_order_is_a_permutation(size: int, key: int) -> None:
    places = permuted(np.arange(size), size=size, key=key)

    assert np.array_equal(np.sort(places), np.arange(size))


def test_the_order_of_a_trillion_needs_no_memory() -> None:
    size = 10**12 + 7
    index = np.arange(10**11, 10**11 + 1000)

    places = permuted(index, size=size, key=3)

    assert len(np.unique(places)) == 1000
    assert places.max() < size
    assert np.array_equal(places[500:], permuted(index[500:], size=size, key=3))


@UNTIMED
@given(data=st.data(), num_ranks=st.sampled_from([1, 2, 4]))
def test_any_stops_ranks_and_micro_batches_read_the_same_samples(
    data: st.DataObject, num_ranks: int, batches: TokenBatches
) -> None:
    whole = batches.batch(0, 64)
    cuts = sorted({0, 64, *data.draw(st.lists(st.integers(0, 64), max_size=5))})
    pieces = []
    for first, last in itertools.pairwise(cuts):
        shares = [np.arange(first, last)[rank::num_ranks] for rank in range(num_ranks)]
        rows = {int(g): batches.batch(int(g), 1)[0] for share in shares for g in share}
        pieces += [rows[g] for g in sorted(rows)]

    assert np.array_equal(np.stack(pieces), whole)


def test_an_epoch_reads_every_window_once(batches: TokenBatches) -> None:
    number = batches.samples_per_epoch
    first = batches.starts(0, number)
    second = batches.starts(number, number)

    assert np.array_equal(np.sort(first), np.arange(number) * SEQ_LEN)
    assert np.array_equal(np.sort(second), np.arange(number) * SEQ_LEN)
    assert not np.array_equal(first, second)


def test_inputs_and_targets_are_the_text_shifted(batches: TokenBatches, corpus_folder: Path) -> None:
    tokens = np.fromfile(corpus_folder / "train-00000.bin", dtype="<u2")
    start = int(batches.starts(5, 1)[0])

    assert np.array_equal(batches.batch(5, 1)[0], tokens[start : start + SEQ_LEN + 1])


def test_documents_of_a_sample_change_at_the_end_of_text(batches: TokenBatches, manifest: Manifest) -> None:
    tokens, documents = batches.batch(0, 200), batches.documents(0, 200)
    is_end = tokens == manifest.tokenizer.end_id

    assert is_end.any()
    assert np.array_equal(np.diff(documents, axis=1) == 1, is_end[:, :-1])
    assert documents.max() < manifest.train.num_documents


def test_a_pilot_repeats_as_often_as_the_run_it_stands_for(corpus_folder: Path, manifest: Manifest) -> None:
    whole = TokenBatches(corpus_folder, manifest, 7, SEQ_LEN)
    pilot = TokenBatches(corpus_folder, manifest, 7, SEQ_LEN, unique_fraction=0.25)
    number = pilot.samples_per_epoch

    assert number == round(0.25 * whole.samples_per_epoch)
    assert len(np.unique(pilot.starts(0, number))) == number
    assert np.array_equal(np.sort(pilot.starts(0, number)), np.sort(pilot.starts(number, number)))


def test_windows_may_span_shards(
    monkeypatch: pytest.MonkeyPatch, folder_of_texts: Path, tmp_path: Path, corpus_folder: Path, config: BuildConfig
) -> None:
    monkeypatch.setattr("data.corpus.shards.SHARD_TOKENS", 1000)
    small = build((str(folder_of_texts),), out=tmp_path, config=config)

    many = TokenBatches(tmp_path, small, 7, SEQ_LEN).batch(0, 300)
    assert len(small.train.shards) > 3
    assert np.array_equal(many, TokenBatches(corpus_folder, load_manifest(corpus_folder), 7, SEQ_LEN).batch(0, 300))


def test_heldout_bytes_are_the_text_of_the_predicted_tokens(
    batches: TokenBatches, corpus_folder: Path, manifest: Manifest
) -> None:
    windows, num_bytes = batches.heldout(10_000, SEQ_LEN)
    tokenizer = Tokenizer((corpus_folder / "tokenizer.json").read_bytes())
    text_bytes = sum(len(tokenizer.decode(window[1:]).encode()) for window in windows)

    assert len(windows) == num_windows(manifest.heldout.num_tokens, SEQ_LEN)
    assert num_bytes == text_bytes


def test_few_heldout_windows_are_spread_evenly(batches: TokenBatches) -> None:
    everything, _ = batches.heldout(10_000, SEQ_LEN)
    some, _ = batches.heldout(4, SEQ_LEN)

    assert np.array_equal(some, everything[np.arange(4) * len(everything) // 4])


def test_a_flipped_bit_is_named_before_it_is_used(corpus_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_folder, tmp_path, dirs_exist_ok=True)
    shard = tmp_path / "train-00000.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)

    broken = TokenBatches(tmp_path, load_manifest(tmp_path), 0, SEQ_LEN)
    with pytest.raises(UserError, match=r"train-00000\.bin has changed: block 0"):
        broken.batch(0, broken.samples_per_epoch)


def test_a_truncated_shard_is_named_when_opened(corpus_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_folder, tmp_path, dirs_exist_ok=True)
    shard = tmp_path / "heldout-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])

    with pytest.raises(UserError, match=r"heldout-00000\.bin: \d+ bytes -> \d+"):
        TokenBatches(tmp_path, load_manifest(tmp_path), 0, SEQ_LEN)


def test_a_text_shorter_than_a_window_is_refused(corpus_folder: Path, manifest: Manifest) -> None:
    with pytest.raises(UserError, match="training tokens"):
        TokenBatches(corpus_folder, manifest, 0, 1 << 24)

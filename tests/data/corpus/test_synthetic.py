"""Synthetic sources have the entropy they state, can be read anywhere, and betray a leak."""

import math
from pathlib import Path

import numpy as np
import pytest

from data.corpus.build import build
from data.corpus.loader import TokenBatches
from data.corpus.manifest import BuildConfig, load_manifest, verify
from data.corpus.synthetic import (
    CHUNK_TOKENS,
    PROCESSES,
    Process,
    TypedGrammar,
    ZipfKeyValue,
    ZipfMarkov,
    entropy,
    leak_alarm,
    tokens,
)
from data.errors import UserError


@pytest.mark.parametrize("source", PROCESSES.values(), ids=PROCESSES)
def test_any_stretch_is_the_same_wherever_reading_starts(source: Process) -> None:
    whole = tokens(source, seed=5, first=0, number=CHUNK_TOKENS + 500)

    assert np.array_equal(tokens(source, seed=5, first=CHUNK_TOKENS - 7, number=400), whole[CHUNK_TOKENS - 7 :][:400])
    assert whole.max() < source.vocab_size
    assert not np.array_equal(whole, tokens(source, seed=6, first=0, number=len(whole)))


def test_the_entropy_of_the_chain_is_its_successors() -> None:
    small = ZipfMarkov(num_states=16, num_successors=6)
    text = tokens(small, seed=1, first=0, number=CHUNK_TOKENS * 3)
    pairs = np.bincount(text[:-1] * 16 + text[1:], minlength=256).reshape(16, 16) / (len(text) - 1)
    plug_in = entropy(pairs.reshape(-1)) - entropy(pairs.sum(axis=1))

    assert plug_in == pytest.approx(small.entropy_nats, abs=0.003)  # 600k samples, 256 cells; joins add 192 tokens


def test_the_entropy_of_the_records_is_that_of_keys_and_noise() -> None:
    small = ZipfKeyValue(num_key_tokens=8, num_values=8)
    records = tokens(small, seed=1, first=0, number=CHUNK_TOKENS * 3).reshape(-1, 3)
    codes = (records[:, 0] * 8 + records[:, 1]) * 8 + records[:, 2] - 8
    plug_in = entropy(np.bincount(codes) / len(codes)) / 3

    assert plug_in == pytest.approx(small.entropy_nats, abs=0.003)


def test_the_entropy_of_the_grammar_is_that_of_its_choices() -> None:
    small = TypedGrammar(depth=2, num_symbols=6, num_rules=2)
    sentences = tokens(small, seed=1, first=0, number=CHUNK_TOKENS * 3).reshape(-1, 4)
    codes = sentences @ (6 ** np.arange(4))
    plug_in = entropy(np.bincount(codes) / len(codes)) / 4

    assert plug_in == pytest.approx(small.entropy_nats, abs=0.003)


def test_entropies_are_those_that_other_code_found() -> None:
    # reference/corpus.md, section 5.5, computed there by other code.
    assert ZipfMarkov(num_states=256, num_successors=64, exponent=1.2).entropy_nats == pytest.approx(2.9879, abs=1e-4)
    assert PROCESSES["pcfg"].entropy_nats == pytest.approx(1.3814, abs=1e-4)


def test_a_loss_below_the_entropy_is_a_leak() -> None:
    assert "below the entropy" in leak_alarm(2.90, standard_error=0.01, entropy_nats=2.9879)
    assert leak_alarm(2.97, standard_error=0.01, entropy_nats=2.9879) == ""
    assert leak_alarm(3.5, standard_error=0.01, entropy_nats=2.9879) == ""


def test_a_model_that_has_seen_the_heldout_text_raises_the_alarm(tmp_path: Path) -> None:
    config = BuildConfig(vocab_size=0, max_tokens=CHUNK_TOKENS, seed=0, heldout_fraction=0.1)
    build(("builtin:synthetic/kv",), out=tmp_path, config=config)
    manifest = verify(tmp_path)
    windows, _ = TokenBatches(tmp_path, manifest, 0, 255).heldout(1000, 255)
    honest, leaked = (_table_loss(text, windows) for text in (_train_text(tmp_path), windows.reshape(-1)))
    assert manifest.entropy_nats is not None

    error = 2.0 / math.sqrt(windows.size)
    assert leak_alarm(honest, standard_error=error, entropy_nats=manifest.entropy_nats) == ""
    assert leak_alarm(leaked, standard_error=error, entropy_nats=manifest.entropy_nats) != ""


def test_a_synthetic_source_stands_alone(tmp_path: Path) -> None:
    config = BuildConfig(vocab_size=0, max_tokens=1000, seed=0, heldout_fraction=0.1)
    with pytest.raises(UserError, match="beside other sources"):
        build(("builtin:synthetic/kv", "builtin:stdlib"), out=tmp_path, config=config)
    with pytest.raises(UserError, match="did you mean 'builtin:synthetic/kv'"):
        build(("builtin:synthetic/kvv",), out=tmp_path, config=config)


def _train_text(folder: Path) -> np.ndarray:
    return np.fromfile(folder / load_manifest(folder).train.shards[0].file.name, dtype="<u2").astype(np.int64)


def _table_loss(text: np.ndarray, windows: np.ndarray) -> float:
    """Nats per token of a trigram table with add-0.01 smoothing: memorises what it saw."""
    counts: dict[tuple[int, int], dict[int, float]] = {}
    for one, two, three in zip(text[:-2].tolist(), text[1:-1].tolist(), text[2:].tolist(), strict=True):
        counts.setdefault((one, two), {})
        counts[one, two][three] = counts[one, two].get(three, 0) + 1
    nats, number = 0.0, 0
    for window in windows[:60].tolist():
        for one, two, three in zip(window, window[1:], window[2:], strict=False):
            row = counts.get((one, two), {})
            nats -= math.log((row.get(three, 0) + 0.01) / (sum(row.values()) + 1.28))
            number += 1
    return nats / number

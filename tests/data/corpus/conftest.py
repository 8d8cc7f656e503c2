"""Small real corpora, built once."""

from pathlib import Path

import pytest

from data.corpus.build import build
from data.corpus.manifest import BuildConfig, Manifest, load_manifest

WORDS = ("the", "of", "plan", "token", "shard", "model", "loss", "budget", "layer", "head", "width", "depth", "data")


def sentence(number: int) -> str:
    return " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(9))


def text(number: int, *, num_sentences: int = 40) -> str:
    return f"Document {number}.\n" + "\n".join(f"{sentence(number + k)} {k}." for k in range(num_sentences))


@pytest.fixture(scope="session")
def folder_of_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for number in range(60):
        (folder / f"part-{number:02d}.txt").write_text(text(number))
    return folder


@pytest.fixture(scope="session")
def config() -> BuildConfig:
    return BuildConfig(vocab_size=400, max_tokens=0, seed=0, heldout_fraction=0.1)


@pytest.fixture(scope="session")
def corpus_folder(folder_of_texts: Path, config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    build((str(folder_of_texts),), out=out, config=config)
    return out


@pytest.fixture(scope="session")
def manifest(corpus_folder: Path) -> Manifest:
    return load_manifest(corpus_folder)

"""Small real corpora, built once."""

import random
from pathlib import Path

import pytest

from data.corpus.build import build
from data.corpus.manifest import BuildConfig, Manifest, load_manifest

SYLLABLES = ("ka", "lo", "mi", "ter", "sun", "ra", "vel", "do", "pin", "gra", "sho", "en", "tu", "bar", "fis", "no")


def text(number: int, *, num_sentences: int = 40) -> str:
    """Prose of invented words that repeats nothing."""
    draw = random.Random(number)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(num_sentences * 9)]
    sentences = [" ".join(words[at : at + 9]).capitalize() + "." for at in range(0, len(words), 9)]
    return f"Document {number}.\n" + "\n".join(sentences)


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

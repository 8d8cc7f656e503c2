"""Fixtures of the executor's tests."""

from pathlib import Path

import pytest

from tests.executor import runs


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small corpus for all tests."""
    folder = tmp_path_factory.mktemp("text") / "corpus"
    runs.make_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of words with a real tokenizer."""
    return runs.make_songs(tmp_path_factory.mktemp("songs"))

"""Hugging Face datasets: a pinned commit, streamed only as far as needed, by a stand-in and by `datasets` itself."""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.corpus import hub
from data.corpus.build import build
from data.corpus.manifest import BuildConfig
from data.errors import UserError
from tests.data.corpus.conftest import text

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf:someone/some-text@{COMMIT}"


class Stream:
    """Rows like `datasets` gives them; counts how many were taken."""

    def __init__(self, num_rows: int) -> None:
        self.info = types.SimpleNamespace(license="odc-by")
        self.num_rows, self.num_taken = num_rows, 0

    def __iter__(self) -> Iterator[dict[str, object]]:
        for number in range(self.num_rows):
            self.num_taken += 1
            yield {"text": text(number), "date": f"2024-05-{1 + number % 28:02d}T00:00:00Z", "url": "https://x"}


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    rows = Stream(400)
    library = types.ModuleType("datasets")
    asked: list[object] = []
    library.__dict__["load_dataset"] = lambda *name, **how: asked.append((name, how)) or rows
    library.__dict__["asked"] = asked
    monkeypatch.setitem(sys.modules, "datasets", library)
    return rows


def config(**changes: int) -> BuildConfig:
    return BuildConfig(vocab_size=400, max_tokens=20_000, seed=0, heldout_fraction=0.1, quality="off", **changes)


def test_a_dataset_becomes_a_corpus_with_its_licence_and_dates(stream: Stream, tmp_path: Path) -> None:
    built = build((NAME,), out=tmp_path, config=config())

    (source,) = built.sources
    assert (source.name, source.licences[0].licence) == (NAME, "odc-by")
    assert built.cutoff.latest == "2024-05-28"
    assert 15_000 < built.train.num_tokens <= 20_000
    assert stream.num_taken < stream.num_rows
    assert sys.modules["datasets"].asked[0][1]["revision"] == COMMIT
    assert not list(tmp_path.glob(".hf-*"))


def test_a_stopped_build_does_not_stream_again(stream: Stream, tmp_path: Path) -> None:
    there = hub.hub_entries(NAME, folder=tmp_path, max_tokens=5_000)
    taken = stream.num_taken
    again = hub.hub_entries(NAME, folder=tmp_path, max_tokens=5_000)

    assert there == again
    assert stream.num_taken == taken > 0


@pytest.mark.parametrize("name", ["hf:someone/some-text", "hf:someone/some-text@main", "hf:some-text@" + COMMIT])
def test_a_dataset_that_is_not_pinned_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no pinned dataset"):
        hub.hub_entries(name, folder=tmp_path, max_tokens=1000)


def test_a_whole_dataset_is_not_streamed_by_accident(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--max-tokens"):
        hub.hub_entries(NAME, folder=tmp_path, max_tokens=0)


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        hub.hub_entries(NAME, folder=tmp_path, max_tokens=1000)


def test_datasets_itself_streams_a_local_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra [hf]")
    folder = tmp_path / "dataset"
    folder.mkdir()
    rows = [{"text": text(number), "date": "2023-01-02"} for number in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    real = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, configuration, **how: real(str(folder), split="train", streaming=True)
    )

    (entry,) = hub.hub_entries(NAME, folder=tmp_path, max_tokens=10**6)
    lines = [json.loads(line) for line in entry.path.read_text().splitlines()]
    assert [line["text"] for line in lines] == [row["text"] for row in rows]

"""The build's stages under another engine remove what they remove at home."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data.corpus.engine import Stages
from data.corpus.manifest import BuildConfig
from tests.data.corpus.conftest import text

CONFIG = BuildConfig(
    vocab_size=300, max_tokens=0, seed=0, heldout_fraction=0, quality="prose", masks_pii=True, until="2024-06-30"
)
ROWS = [
    {"text": text(1), "id": "plain"},
    {"text": text(2) + "\nmail jane.doe@company.co.uk", "id": "personal"},
    {"text": "short", "id": "short"},
    {"text": text(3), "id": "late", "date": "2025-01-01"},
    {"text": (text(4, num_sentences=5) + "\n") * 9, "id": "repeating"},
]


@dataclass
class Item:
    text: str
    id: str
    metadata: dict[str, object] = field(default_factory=dict)


def items() -> Iterator[Item]:
    for row in ROWS:
        yield Item(row["text"], row["id"], {"date": row.get("date")})


def test_documents_pass_the_stages_and_removals_are_kept(tmp_path: Path) -> None:
    stages = Stages(CONFIG, tmp_path)
    found = {item.id: item.text for item in stages(items(), rank=3, world_size=8)}

    assert list(found) == ["plain", "personal"]
    assert found["personal"].endswith("mail <email>")
    assert (tmp_path / "removed-00003.json").exists()
    removed = {removal.examples[0]: removal.stage for removal in stages.removed().sorted()}
    assert removed == {"short": "clean", "late": "cutoff", "repeating": "quality"}
    assert stages.removed().masked == {"email": 1}


def test_datatroves_local_executor_runs_them(tmp_path: Path) -> None:
    pytest.importorskip("datatrove", reason="datatrove is not installed")
    pytest.importorskip("orjson", reason="datatrove's reader needs its extra [io]")
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    (tmp_path / "in").mkdir()
    for number in range(2):
        lines = [json.dumps({**row, "id": f"{row['id']}-{number}"}) for row in ROWS]
        (tmp_path / "in" / f"{number}.jsonl").write_text("\n".join(lines))
    stages = Stages(CONFIG, tmp_path / "removed")
    pipeline = [JsonlReader(str(tmp_path / "in")), stages, JsonlWriter(str(tmp_path / "out"), compression=None)]
    LocalPipelineExecutor(pipeline, tasks=2, workers=1, logging_dir=str(tmp_path / "log"), skip_completed=True).run()

    out = [
        json.loads(line)
        for path in sorted((tmp_path / "out").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert sorted(row["id"] for row in out) == ["personal-0", "personal-1", "plain-0", "plain-1"]
    assert sum(removal.num_documents for removal in stages.removed().sorted()) == 6

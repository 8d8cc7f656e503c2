"""The stages of a build as a step of another engine's pipeline, for text that one machine does not clean in time.

`Stages` is a callable in the form datatrove's executors take (a generator of documents, this task's rank, the number of
tasks), so the same configuration runs on its local, Slurm and Ray executors, and nothing here imports it. What comes
out is read by `isoplan corpus build`, which looks for duplicates over all of it, encodes and splits. docs/corpus.md
has the script.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from data.canonical import canonical_bytes
from data.corpus.document import UNKNOWN_LICENCE, Document, Rejected
from data.corpus.manifest import BuildConfig
from data.corpus.removal import Removals
from data.corpus.stages import passed, stages_of
from data.durable import write_atomic


class EngineDocument(Protocol):
    """A document of the engine: datatrove's `Document` is one."""

    text: str
    id: str
    metadata: dict[str, object]


Item = TypeVar("Item", bound=EngineDocument)


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of `config` on documents of one `domain`; `folder` receives what each task removed, and why."""

    config: BuildConfig
    folder: Path
    domain: str = "records"

    def __call__(self, data: Iterator[Item], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """Yield the documents that pass, cleaned and masked; those of the other tasks do not matter."""
        removals = Removals()
        stages = stages_of(self.config, folder=self.folder, counts=removals.masked)
        for item in data:
            result = passed(self._document(item), stages)
            if isinstance(result, Rejected):
                removals.add(result)
                continue
            item.text = result.text
            if result.language:
                item.metadata["language"] = result.language
            yield item
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / f"removed-{rank:05d}.json", canonical_bytes(removals.as_json()))

    def removed(self) -> Removals:
        """Return what all finished tasks removed."""
        total = Removals()
        for path in sorted(self.folder.glob("removed-*.json")):
            total.update(Removals.from_json(path.read_bytes()))
        return total

    def _document(self, item: EngineDocument) -> Document:
        licence = str(item.metadata.get("license") or UNKNOWN_LICENCE)
        date = str(item.metadata.get("date") or "")[:10]
        return Document(item.id, item.text, self.domain, licence=licence, date=date)

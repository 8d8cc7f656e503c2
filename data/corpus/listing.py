"""Source names -> the entries behind them, in an order that does not depend on how the sources were named or given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from data.corpus.builtin import dependency_entries, interpreter, stdlib_entries
from data.corpus.document import Entry, Rejected
from data.corpus.hub import PREFIX as HUB_PREFIX
from data.corpus.local import listing
from data.corpus.synthetic import PREFIX, PROCESSES
from data.errors import UserError, nearest

BUILTIN = {"builtin:stdlib": stdlib_entries, "builtin:deps": dependency_entries}


@dataclass(frozen=True, slots=True)
class Sources:
    """The entries of all sources, by source, domain and name; what a person calls each source; and what is not read."""

    entries: tuple[Entry, ...]
    labels: dict[str, str]
    skipped: tuple[Rejected, ...]


def listed(sources: tuple[str, ...], *, hub: Callable[[str], tuple[Entry, ...]]) -> Sources:
    """Return what stands behind the names of sources; `hub` gives the entries of a Hugging Face dataset.

    Built-in sources come first, then datasets; local ones follow by the digest of their listing and are named
    `local:1`, ...

    Raises:
        UserError: no source, an unknown one, or one that stands twice.
    """
    if not sources:
        raise UserError("no source", expected="files, folders, builtin:stdlib, builtin:deps or hf:OWNER/NAME@COMMIT")
    builtin = {name: _builtin(name) for name in sorted(set(sources)) if name.startswith("builtin:")}
    datasets = {name: hub(name) for name in sorted(set(sources)) if name.startswith(HUB_PREFIX)}
    others = [name for name in sources if not name.startswith(("builtin:", HUB_PREFIX))]
    paths = {str(Path(name).resolve()): Path(name) for name in others}
    local = sorted(((listing(path), path) for path in paths.values()), key=lambda pair: pair[0].digest)
    labels = {name: _label(name) for name in builtin} | dict.fromkeys(datasets, "a Hugging Face dataset")
    entries = [entry for found in (*builtin.values(), *datasets.values()) for entry in found]
    skipped: list[Rejected] = []
    for number, (found, path) in enumerate(local, start=1):
        source = f"local:{number}"
        labels[source] = path.resolve().name
        # The prefix keeps names apart when two folders hold the same one.
        entries += [
            replace(e, source=source, name=f"{source}/{e.name}", group=f"{source}/{e.group}") for e in found.entries
        ]
        skipped += [replace(item, name=f"{source}/{item.name}") for item in found.skipped]
    order = {source: place for place, source in enumerate(labels)}
    entries.sort(key=lambda entry: (order[entry.source], entry.domain, entry.name.encode("utf-8", "surrogateescape")))
    return Sources(tuple(entries), labels, tuple(skipped))


def _builtin(name: str) -> tuple[Entry, ...]:
    if name not in BUILTIN:
        raise UserError(
            f"no source '{name}'", expected=nearest(name, [*BUILTIN, *(PREFIX + kind for kind in PROCESSES)])
        )
    return BUILTIN[name]()


def _label(name: str) -> str:
    return f"the library of {interpreter()}" if name == "builtin:stdlib" else "the installed dependencies of isoplan"

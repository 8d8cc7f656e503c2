"""Source names -> the entries behind them, in an order that does not depend on how the sources were named or given."""

from dataclasses import replace
from pathlib import Path

from data.corpus.builtin import dependency_entries, interpreter, stdlib_entries
from data.corpus.document import Entry
from data.corpus.local import listing_digest, local_entries
from data.corpus.synthetic import PREFIX, PROCESSES
from data.errors import UserError, nearest

BUILTIN = {"builtin:stdlib": stdlib_entries, "builtin:deps": dependency_entries}


def listed(sources: tuple[str, ...]) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Return the entries of all sources, by source, domain and name, and what a person calls each source.

    Built-in sources come first; local ones follow by the digest of their listing and are named `local:1`, ...

    Raises:
        UserError: no source, an unknown one, or one that stands twice.
    """
    if not sources:
        raise UserError("no source", expected="files, folders, builtin:stdlib or builtin:deps")
    builtin = {name: _builtin(name) for name in sorted(set(sources)) if name.startswith("builtin:")}
    paths = {str(Path(name).resolve()): Path(name) for name in sources if not name.startswith("builtin:")}
    local = sorted(((local_entries(path), path) for path in paths.values()), key=lambda pair: listing_digest(pair[0]))
    labels = {name: _label(name) for name in builtin}
    entries = [entry for found in builtin.values() for entry in found]
    for number, (found, path) in enumerate(local, start=1):
        source = f"local:{number}"
        labels[source] = path.resolve().name
        # The prefix keeps names apart when two folders hold the same one.
        entries += [replace(e, source=source, name=f"{source}/{e.name}", group=f"{source}/{e.group}") for e in found]
    order = {source: place for place, source in enumerate(labels)}
    return tuple(sorted(entries, key=lambda e: (order[e.source], e.domain, _bytewise(e.name)))), labels


def _builtin(name: str) -> tuple[Entry, ...]:
    if name not in BUILTIN:
        raise UserError(
            f"no source '{name}'", expected=nearest(name, [*BUILTIN, *(PREFIX + kind for kind in PROCESSES)])
        )
    return BUILTIN[name]()


def _label(name: str) -> str:
    return f"the library of {interpreter()}" if name == "builtin:stdlib" else "the installed dependencies of isoplan"


def _bytewise(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")

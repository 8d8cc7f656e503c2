"""A disk that may lose what was not flushed: the legal states after a power cut, from the calls that led to it.

The model promises no more than POSIX does: a file's writes since its last fsync may be missing, torn or
zero; names made, changed or removed in a folder since that folder's last fsync may each be there or not, in any
combination; one rename is one change. Flushing a file does not flush its name.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.interpose import Call

SECTOR_BYTES = 512
_MOST_SUBSETS = 64
_EVERY_SUBSET_UP_TO = 6


@dataclass(slots=True)
class _File:
    """A file's bytes as last flushed, and what was written since."""

    flushed: bytes = b""
    pending: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _NameChange:
    """Names of one folder that change together: None means the name goes."""

    folder: int
    names: tuple[tuple[str, int | None], ...]


@dataclass(slots=True)
class Disk:
    """Inode 0 is the watched folder. Feed it calls in order, then ask for the states a cut may leave."""

    root: str
    files: dict[int, _File] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    live: dict[str, int] = field(default_factory=dict)
    pending: list[_NameChange] = field(default_factory=list)
    num_inodes: int = 1

    def __post_init__(self) -> None:
        self.live[self.root] = 0

    def apply(self, call: Call) -> None:
        """Take in one call."""
        match call.kind:
            case "create" | "mkdir":
                self._make(call.path, is_folder=call.kind == "mkdir")
            case "write" | "truncate":
                self.files[self.live[call.path]].pending.append(call)
            case "fsync":
                self._flush(call.path)
            case "rename":
                self._rename(call.path, call.to)
            case "unlink" | "rmdir":
                del self.live[call.path]
                self._change(call.path, None)
            case "chmod":
                pass

    def adopt(self, folder: Path) -> None:
        """Take what lies in `folder` now as flushed: what came before the calls, or was written unseen."""
        for path in sorted(folder.rglob("*")):
            name = str(path)
            if name in self.live:
                continue
            self._make(name, is_folder=path.is_dir())
            if path.is_file():
                self.files[self.live[name]].flushed = path.read_bytes()
        for change in self.pending:
            self._settle(change)
        self.pending.clear()

    def states(self, chance: random.Random) -> Iterator[dict[str, bytes | None]]:
        """Yield states a power cut may leave now: relative path -> bytes, or None for a folder."""
        seen: set[int] = set()
        for kept in _subsets(self.pending, chance):
            tree = {number: dict(names) for number, names in self.folders.items()}
            for change in kept:
                _settle(tree, change)
            for look in _looks(self.files, chance):
                state = dict(self._walk(0, "", tree, look))
                key = hash(tuple(sorted(state.items(), key=lambda item: item[0])))
                if key not in seen:
                    seen.add(key)
                    yield state

    def _make(self, path: str, *, is_folder: bool) -> None:
        number = self.num_inodes
        self.num_inodes += 1
        self.live[path] = number
        if is_folder:
            self.folders[number] = {}
        else:
            self.files[number] = _File()
        self._change(path, number)

    def _change(self, path: str, number: int | None) -> None:
        parent, _, name = path.rpartition("/")
        self.pending.append(_NameChange(self.live[parent], ((name, number),)))

    def _rename(self, old: str, new: str) -> None:
        number = self.live.pop(old)
        for path in [path for path in self.live if path.startswith(old + "/")]:
            self.live[new + path[len(old) :]] = self.live.pop(path)
        self.live[new] = number
        parent, _, name = new.rpartition("/")
        gone = old.rpartition("/")[2]
        self.pending.append(_NameChange(self.live[parent], ((gone, None), (name, number))))

    def _flush(self, path: str) -> None:
        number = self.live[path]
        if number in self.files:
            self.files[number].flushed = _written(self.files[number].flushed, self.files[number].pending)
            self.files[number].pending.clear()
            return
        for change in self.pending:
            if change.folder == number:
                self._settle(change)
        self.pending = [change for change in self.pending if change.folder != number]

    def _settle(self, change: _NameChange) -> None:
        _settle(self.folders, change)

    def _walk(
        self, folder: int, prefix: str, tree: dict[int, dict[str, int]], look: Callable[[int], bytes]
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, number in tree[folder].items():
            if number in tree:
                yield prefix + name, None
                yield from self._walk(number, f"{prefix}{name}/", tree, look)
            else:
                yield prefix + name, look(number)


def lay_out(state: dict[str, bytes | None], folder: Path) -> None:
    """Write a state into an empty folder."""
    for name, content in state.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _settle(tree: dict[int, dict[str, int]], change: _NameChange) -> None:
    for name, number in change.names:
        if number is None:
            tree[change.folder].pop(name, None)
        else:
            tree[change.folder][name] = number


def _subsets(changes: Sequence[_NameChange], chance: random.Random) -> Iterator[Sequence[_NameChange]]:
    """All subsets of a few; of many: every prefix, all but one, one alone, and some drawn at random."""
    if len(changes) <= _EVERY_SUBSET_UP_TO:
        for size in range(len(changes) + 1):
            yield from itertools.combinations(changes, size)
        return
    for index in range(len(changes) + 1):
        yield changes[:index]
        yield [change for place, change in enumerate(changes) if place != index]
        yield changes[index : index + 1]
    for _ in range(_MOST_SUBSETS):
        yield [change for change in changes if chance.random() < 0.5]


def _looks(files: dict[int, _File], chance: random.Random) -> Iterator[Callable[[int], bytes]]:
    """Ways the unflushed bytes may have ended up: none, all, torn, zero, and mixtures of these over files."""
    unsure = [number for number, file in files.items() if file.pending]
    variants = {number: _variants(files[number]) for number in unsure}
    choices = [dict.fromkeys(unsure, kind) for kind in range(_NUM_VARIANTS)] if unsure else [{}]
    choices += [{number: chance.randrange(_NUM_VARIANTS) for number in unsure} for _ in range(4 if unsure else 0)]
    for choice in choices:
        yield (
            lambda number, choice=choice: (
                variants[number][choice[number]] if number in choice else files[number].flushed
            )
        )


_NUM_VARIANTS = 5


def _variants(file: _File) -> tuple[bytes, ...]:
    whole = _written(file.flushed, file.pending)
    without_last = _written(file.flushed, file.pending[:-1])
    middle = len(whole) // 2 // SECTOR_BYTES * SECTOR_BYTES
    torn = whole[:middle]
    holed = whole[:middle] + bytes(len(whole) - middle)
    return file.flushed, whole, without_last, torn, holed


def _written(content: bytes, calls: Sequence[Call]) -> bytes:
    buffer = bytearray(content)
    for call in calls:
        if call.kind == "truncate":
            del buffer[call.size :]
            buffer.extend(bytes(call.size - len(buffer)))
        else:
            buffer.extend(bytes(max(0, call.offset - len(buffer))))
            buffer[call.offset : call.offset + len(call.data)] = call.data
    return bytes(buffer)

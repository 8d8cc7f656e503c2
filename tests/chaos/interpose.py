"""A place between Python and the kernel: every file operation that changes something passes a hook first.

The hook may look, raise OSError (a full or broken disk), kill the process, or shorten a write. Files opened for writing
keep Python's own buffering, so that a flush in the wrong place shows. What a C or Rust library writes is not seen.
"""

import builtins
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["create", "truncate", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "chmod"]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, about to happen. `size` is a truncation's new length, `to` a rename's target."""

    kind: Kind
    path: str
    data: bytes = b""
    offset: int = 0
    size: int = 0
    to: str = ""


Hook = Callable[[Call], int | None]
"""Looks at a call before it happens; a number returned for a write lets only so many bytes of it through."""


@contextmanager
def interposed(root: Path, hook: Hook) -> Generator[None]:
    """Send every change under `root` through `hook` while this context lasts."""
    layer = _Layer(os.path.realpath(root), hook)
    saved = {name: getattr(os, name) for name in layer.replacements}
    opens = io.open, builtins.open
    try:
        for name, replacement in layer.replacements.items():
            setattr(os, name, replacement)
        io.open = builtins.open = layer.open_file  # type: ignore[assignment] - the point of this module
        yield
    finally:
        for name, original in saved.items():
            setattr(os, name, original)
        io.open, builtins.open = opens


class _Layer:
    def __init__(self, root: str, hook: Hook) -> None:
        self._root, self._hook = root, hook
        self._paths: dict[int, str] = {}
        self._os = {name: getattr(os, name) for name in dir(os)}
        self.replacements: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "close": self._close,
            "write": self._write,
            "fsync": self._fsync,
            "fdatasync": self._fsync,
            "rename": self._rename,
            "replace": self._rename,
            "mkdir": self._mkdir,
            "unlink": self._unlink,
            "remove": self._unlink,
            "rmdir": self._rmdir,
            "truncate": self._truncate,
            "ftruncate": self._truncate,
            "fchmod": self._fchmod,
        }

    def open_file(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        """`open`, with the raw file underneath recorded where it can write."""
        path = self._paths.get(file) if isinstance(file, int) else self._inside(file)
        if path is None or not set(mode) & set("wax+"):
            return _REAL_OPEN(file, mode, buffering, *args, **options)
        if not isinstance(file, int):
            self._announce_open(path, is_new="w" in mode or "x" in mode or not os.path.exists(path))
        raw = _RecordedFile(file, mode.replace("b", "").replace("t", ""), path=path, hook=self._hook)
        if isinstance(file, int):
            raw.on_close = lambda: self._paths.pop(file, None)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *args, **options)

    def _announce_open(self, path: str, *, is_new: bool) -> None:
        if is_new:
            exists = os.path.exists(path)
            self._hook(Call("truncate" if exists else "create", path))

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        if isinstance(path, int):
            return self._paths.get(path)
        text = os.fsdecode(path)
        if dir_fd is not None:
            base = self._paths.get(dir_fd)
            if base is None:
                return None
            text = os.path.join(base, text)
        whole = os.path.join(os.path.realpath(os.path.dirname(text) or "."), os.path.basename(text))
        return whole if whole == self._root or whole.startswith(self._root + os.sep) else None

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        inside = self._inside(path, dir_fd)
        if inside is not None and flags & os.O_CREAT and not os.path.exists(inside):
            self._hook(Call("create", inside))
        elif inside is not None and flags & os.O_TRUNC:
            self._hook(Call("truncate", inside))
        handle = self._os["open"](path, flags, mode, dir_fd=dir_fd)
        if inside is not None:
            self._paths[handle] = inside
        return handle

    def _close(self, handle: int) -> None:
        self._paths.pop(handle, None)
        self._os["close"](handle)

    def _write(self, handle: int, data: Any) -> int:
        path = self._paths.get(handle)
        if path is not None:
            is_append = os.path.exists(path) and self._os["lseek"](handle, 0, os.SEEK_CUR)
            offset = is_append or os.fstat(handle).st_size
            allowed = self._hook(Call("write", path, data=bytes(data), offset=offset))
            if allowed is not None:
                data = bytes(data)[:allowed]
        return self._os["write"](handle, data)

    def _fsync(self, handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        path = self._paths.get(number) or self._inside(os.readlink(f"/proc/self/fd/{number}"))
        if path is not None:
            self._hook(Call("fsync", path))
        self._os["fsync"](number)

    def _rename(self, old: Any, new: Any, **options: Any) -> None:
        inside, to = self._inside(old), self._inside(new)
        if inside is not None and to is not None:
            self._hook(Call("rename", inside, to=to))
        self._os["replace"](old, new, **options)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        inside = self._inside(path, dir_fd)
        if inside is not None and not os.path.exists(inside):
            self._hook(Call("mkdir", inside))
        self._os["mkdir"](path, mode, dir_fd=dir_fd)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        inside = self._inside(path, dir_fd)
        if inside is not None and os.path.lexists(inside):
            self._hook(Call("unlink", inside))
        self._os["unlink"](path, dir_fd=dir_fd)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        inside = self._inside(path, dir_fd)
        if inside is not None:
            self._hook(Call("rmdir", inside))
        self._os["rmdir"](path, dir_fd=dir_fd)

    def _truncate(self, target: Any, size: int) -> None:
        inside = self._inside(target)
        if inside is not None:
            self._hook(Call("truncate", inside, size=size))
        self._os["truncate"](target, size)

    def _fchmod(self, handle: int, mode: int) -> None:
        path = self._paths.get(handle)
        if path is not None:
            self._hook(Call("chmod", path))
        self._os["fchmod"](handle, mode)


_REAL_OPEN = open


class _RecordedFile(io.FileIO):
    """A raw file whose writes pass the hook."""

    def __init__(self, file: Any, mode: str, *, path: str, hook: Hook) -> None:
        super().__init__(file, mode)
        self._path, self._hook = path, hook
        self.on_close: Callable[[], object] = lambda: None

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        allowed = self._hook(Call("write", self._path, data=content, offset=self.tell()))
        return super().write(content if allowed is None else content[:allowed]) or 0

    def close(self) -> None:
        self.on_close()
        super().close()

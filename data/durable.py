"""Files that are either the old or the new one, never half: stage, flush, fsync, rename, fsync the folder."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content` so that a crash at any moment leaves the old or the new bytes, whole.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def append_durable(path: Path, line: bytes) -> None:
    """Append one line and return only when it is on the disk.

    Raises:
        OSError: the disk is full or broken; the file ends as it did before.
    """
    append_after(path, lambda content: line)


def append_after(path: Path, make_line: Callable[[bytes], bytes]) -> None:
    """Append the line that `make_line` makes from what the file holds, and return when it is on the disk.

    Nobody else appends in between. Raises as `append_durable`, and whatever `make_line` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        content = path.read_bytes()
        line = make_line(content)
        try:
            write_all(handle, line)
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, len(content))
            raise
    finally:
        os.close(handle)
    fsync_path(path.parent)


def write_all(handle: int, content: bytes) -> None:
    """Write every byte: the kernel may take fewer than it was given."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def claim(path: Path, content: bytes) -> bool:
    """Create `path` if no one has; True for the one process that made it, False for every other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    fsync_path(path.parent)
    return True


def fsync_path(path: Path) -> None:
    """Make a file's bytes, or the renames and new names inside a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

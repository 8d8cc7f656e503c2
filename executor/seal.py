"""A folder that is either whole and proven, or not there: staged, hashed, flushed, renamed.

The order is the point: write every file and the manifest, fsync each, fsync the folder, rename it into place, fsync its
parent. Only then does the checkpoint exist. A kill at any moment leaves the old ones and at most a staging folder; a
power cut cannot leave a name without its bytes; a flipped bit anywhere is found before anything is loaded. This module
knows files and hashes; what is in them is `executor.checkpoint`'s affair.
"""

import hashlib
import shutil
from pathlib import Path

import xxhash
from pydantic import Field

from data.durable import fsync_path
from data.errors import UserError
from data.values import Value
from executor.value_files import read_value, value_bytes

MANIFEST = "MANIFEST.json"
STAGING = ".staging-"
BAD = "bad-"


class SealedFile(Value):
    """What one file must be. xxh3-128 finds damage at memory speed; it is no defence against a forger."""

    num_bytes: int = Field(ge=0)
    xxh3_128: str


class Seal(Value):
    """The manifest of a sealed folder: exactly these files, and nothing else."""

    files: dict[str, SealedFile]


def staging_folder(final: Path) -> Path:
    """Return an empty folder beside `final` to write into; what an earlier, killed attempt left is removed."""
    for left in final.parent.glob(f"{STAGING}*"):
        shutil.rmtree(left)
    staged = final.parent / f"{STAGING}{final.name}"
    staged.mkdir(parents=True)
    return staged


def seal(staged: Path, final: Path) -> None:
    """Make `staged` durable and give it its final name.

    Raises:
        OSError: the disk is full or broken; `final` does not exist then.
    """
    files = {path.name: _look_at(path) for path in sorted(staged.iterdir())}
    (staged / MANIFEST).write_bytes(value_bytes(Seal(files=files)))
    for path in staged.iterdir():
        fsync_path(path)
    fsync_path(staged)
    staged.rename(final)
    fsync_path(final.parent)


def flaw(folder: Path) -> str:
    """Return what is wrong with a sealed folder, or nothing: every byte of every file is read."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        sealed = read_value(folder / MANIFEST, Seal)
        found = {path.name for path in folder.iterdir()} - {MANIFEST}
        if manifest != value_bytes(sealed):
            return f"{MANIFEST} is not as it was written"
        if found != set(sealed.files):
            return f"it holds {', '.join(sorted(found ^ set(sealed.files)))} too much or too little"
        for name, expected in sealed.files.items():
            if _look_at(folder / name) != expected:
                return f"{name} has changed"
    except (OSError, UserError) as error:
        return str(error)
    return ""


def quarantine(folder: Path) -> Path:
    """Put a bad folder aside under a new name, so that no one loads it and a person can look at it."""
    number = 0
    while (aside := folder.with_name(f"{BAD}{folder.name}-{number}")).exists():
        number += 1
    folder.rename(aside)
    fsync_path(folder.parent)
    return aside


def _look_at(path: Path) -> SealedFile:
    with path.open("rb") as file:
        hasher = hashlib.file_digest(file, xxhash.xxh3_128)
    return SealedFile(num_bytes=path.stat().st_size, xxh3_128=hasher.hexdigest())

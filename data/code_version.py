"""Which code this is: the release and a digest of the sources, so that a plan and a run can tell that it changed."""

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("data", "planner", "executor")


@functools.cache
def code_version() -> str:
    """Return such as `0.1.0+3f9a1c0b2d4e`: the version and 12 hex digits of the sha256 of what computes and trains.

    Screens and commands are left out: they decide nothing, so changing them does not make a plan stale.
    """
    root = Path(__file__).parents[1]
    hasher = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".csv", ".toml"} and path.is_file() and not _is_price_book(path):
                hasher.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{_release()}+{hasher.hexdigest()[:12]}"


def _is_price_book(path: Path) -> bool:
    # Prices have their own, more telling check: field by field, old -> new.
    return path.parent.name == "catalog" and path.name == "prices.csv"


def _release() -> str:
    try:
        return version("isoplan")
    except PackageNotFoundError:
        return "unreleased"

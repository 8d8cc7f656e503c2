"""The error tree: a user's mistake is a `UserError` that says what was found, what was expected and the next step.

A programmer's mistake stays ValueError or TypeError. The command line turns a `UserError` into one sentence on stderr
and its `exit_code`; nothing else may catch one except to add context.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from data.text import one_line, readable, seen_lines

MAX_CHARS = 1000
"""Longest text of what was found, expected or to do: they often quote input, which may be any length."""


class UserError(Exception):
    """Something the user can mend. `exit_code` is what the command line returns.

    What was found and what to do are one line each, of visible text, whatever they quote. What was expected is too,
    unless it begins with a line break: then it is a list, a line each.
    """

    exit_code = 2

    def __init__(self, found: str, *, expected: str = "", next_step: str = "") -> None:
        self.found = readable(found, max_chars=MAX_CHARS)
        self.expected = seen_lines(expected) if expected.startswith("\n") else readable(expected, max_chars=MAX_CHARS)
        self.next_step = readable(next_step, max_chars=MAX_CHARS)
        super().__init__("; ".join(part for part in (self.found, self.expected, self.next_step) if part))


class InfeasibleError(UserError):
    """No plan meets the constraints; `relaxations` lists the smallest changes that would."""

    exit_code = 3

    def __init__(self, found: str, *, relaxations: tuple[str, ...], expected: str = "") -> None:
        self.relaxations = tuple(map(one_line, relaxations))
        next_step = "relax one of: " + " · ".join(relaxations) if relaxations else ""
        super().__init__(found, expected=expected, next_step=next_step)


class NotApprovedError(UserError):
    """The plan is not approved, or the approval does not hold."""

    exit_code = 4


class StalePlanError(UserError):
    """What the plan was approved for has changed; `changes` lists each field as `name: old -> new`."""

    exit_code = 5

    def __init__(self, found: str, *, changes: tuple[str, ...], next_step: str) -> None:
        self.changes = tuple(map(one_line, changes))
        super().__init__(found, expected="\n  " + "\n  ".join(self.changes), next_step=next_step)


class CapReachedError(UserError):
    """The run has used up what it was allowed."""

    exit_code = 7


class PreflightError(UserError):
    """The machine cannot run the plan as it stands."""

    exit_code = 8


class LockedError(UserError):
    """Another process holds what this one needs."""

    exit_code = 9


class FilesError(UserError):
    """A disk is full, read-only or broken, or what was being written to has been removed."""

    exit_code = 1


def files_error(error: OSError, *, where: Path, next_step: str) -> FilesError:
    """Return what the system said of a file, or of something in `where`, as a `UserError`."""
    return FilesError(
        f"cannot read or write {error.filename or where}: {error.strerror or error}",
        expected="a folder that is there, may be written to and has room",
        next_step=next_step,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the closest known name, or the whole list when nothing is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    if close:
        return f"did you mean '{next(n for n in names if n.lower() == close[0])}'?"
    return f"known: {', '.join(names)}"

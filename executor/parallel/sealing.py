"""A checkpoint that many ranks write and one seals: each stages its pieces, the leader hashes, renames and prunes.

A step on which one rank fails is a failure on all, found by a reduction, so that no rank waits for another. The folder
must be one that all hosts see.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data.durable import fsync_path
from executor.checkpoint import (
    NotSealedError,
    TrainingState,
    check_finite,
    check_room,
    not_written,
    prune,
)
from executor.checkpoint_names import checkpoint_path
from executor.parallel.team import Ranks
from executor.pieces import Piece, write_pieces
from executor.seal import STAGING, flaw, quarantine, seal, staging_folder
from executor.value_files import write_value

Kinds = Mapping[str, Sequence[Piece]]
"""This rank's pieces by kind: `model`, `optimiser`."""


def save_together(folder: Path, state: TrainingState, kinds: Kinds, *, ranks: Ranks, rank: int) -> Path:
    """Seal a checkpoint of all ranks' pieces and return its path. Every rank calls this at the same step.

    Raises:
        NotSealedError: on every rank, if any could not do its part. Nothing is changed then.
    """
    final = checkpoint_path(folder, state.step)
    if ranks.from_leader(int(ranks.is_leader and final.exists() and not flaw(final))):
        return final
    staged = final.parent / f"{STAGING}{final.name}"
    try:
        _together(ranks, final, lambda: _check(folder, state, kinds))
        _together(ranks, final, lambda: _stage(final) if ranks.is_leader else None)
        _together(ranks, final, lambda: _write(staged, kinds, rank=rank))
        _together(ranks, final, lambda: _seal(staged, final, state) if ranks.is_leader else None)
    except NotSealedError:
        if ranks.is_leader:
            shutil.rmtree(staged, ignore_errors=True)
        raise
    return final


def _together(ranks: Ranks, final: Path, act: Callable[[], None]) -> None:
    """Act on every rank and go on only if all succeeded."""
    problem = ""
    try:
        act()
    except NotSealedError as error:
        problem = error.found
    except OSError as error:
        problem = not_written(final, error).found
    found = ranks.first_problem(problem)
    if found:
        raise NotSealedError(found)


def _check(folder: Path, state: TrainingState, kinds: Kinds) -> None:
    pieces = [piece for each in kinds.values() for piece in each]
    check_finite(((piece.name, piece.tensor) for piece in pieces), step=state.step)
    folder.mkdir(exist_ok=True)
    check_room(folder, sum(piece.tensor.nbytes for piece in pieces))


def _stage(final: Path) -> None:
    if final.exists():
        quarantine(final)
    staging_folder(final)


def _write(staged: Path, kinds: Kinds, *, rank: int) -> None:
    for kind, pieces in kinds.items():
        if pieces:
            path = staged / f"{kind}-{rank:05d}.safetensors"
            write_pieces(path, pieces)
            fsync_path(path)  # on a network file system the leader cannot flush what another host still holds


def _seal(staged: Path, final: Path, state: TrainingState) -> None:
    write_value(staged / "state.json", state)
    seal(staged, final)
    prune(final.parent)

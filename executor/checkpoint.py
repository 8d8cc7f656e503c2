"""Checkpoints: everything a run needs to go on bit for bit, in sealed folders of safetensors and JSON. No pickle.

A folder `step-00000120` holds `model.safetensors`, `optimiser.safetensors` and `state.json`; where many ranks trained,
a file of pieces from each (`executor.pieces`) in place of the first two. The newest one that verifies wins; a bad one
is put aside aloud. Order is by step, never by time. See `executor.seal` for what a kill, a power cut or a flipped bit
can do: nothing.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from data.errors import UserError
from data.units import show_bytes
from data.values import Value
from executor.checkpoint_names import checkpoint_path, checkpoint_paths
from executor.pieces import StoredTensors, whole_piece, write_pieces
from executor.seal import flaw, quarantine, seal, staging_folder
from executor.value_files import read_value, write_value

KEEP = 2
"""Verified checkpoints that are never removed: the newest, and one to fall back to."""

# What the file system needs beside the tensors themselves: headers, the state, the manifest, folder blocks.
_SPARE_BYTES = 1 << 20


class TrainingState(Value):
    """What goes on besides tensors. The data's place is `num_samples`: batches are a function of it."""

    schema_: Literal["isoplan.checkpoint/1"] = Field(default="isoplan.checkpoint/1", alias="schema")
    job_digest: str
    step: int = Field(ge=0)
    num_samples: int = Field(ge=0)
    ema_total: float
    ema_weight: float
    recent_losses: tuple[float, ...] = ()
    recent_norms: tuple[float, ...] = ()
    torch_version: str
    num_threads: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A training state with its tensors, on whatever device they live."""

    state: TrainingState
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]


class NotSealedError(UserError):
    """A checkpoint could not be written; the ones before it stand."""

    exit_code = 1


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Seal a checkpoint in `folder` and return its path; it is on the disk, verified by hash, when this returns.

    Raises:
        NotSealedError: a tensor is not finite, or the disk has no room. Nothing is changed then.
    """
    final = checkpoint_path(folder, snapshot.state.step)
    if final.exists() and not flaw(final):
        return final
    tensors = {**snapshot.model, **snapshot.optimiser}
    check_finite(tensors.items(), step=snapshot.state.step)
    try:
        folder.mkdir(exist_ok=True)
        check_room(folder, sum(tensor.nbytes for tensor in tensors.values()))
        if final.exists():
            quarantine(final)
        _write(snapshot, final)
        prune(folder)
    except OSError as error:
        raise not_written(final, error) from error
    return final


def _write(snapshot: Snapshot, final: Path) -> None:
    staged = staging_folder(final)
    try:
        for kind, named in (("model", snapshot.model), ("optimiser", snapshot.optimiser)):
            write_pieces(staged / f"{kind}.safetensors", (whole_piece(name, it) for name, it in named.items()))
        write_value(staged / "state.json", snapshot.state)
        seal(staged, final)
    except OSError:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def not_written(final: Path, error: OSError) -> NotSealedError:
    """Return what the system said of a checkpoint's files, as the error of a save."""
    return NotSealedError(f"cannot write checkpoint {final.name}: {error.strerror or error}")


def newest(folder: Path, *, warn: Callable[[str], None]) -> Path | None:
    """Return the newest checkpoint that verifies, or None where there is none. Bad ones are put aside and told of."""
    for path in checkpoint_paths(folder):
        problem = flaw(path)
        if not problem:
            return path
        aside = quarantine(path)
        warn(f"checkpoint {path.name} is damaged ({problem}); put aside as {aside.name}, falling back")
    return None


def load(path: Path, *, device: torch.device) -> Snapshot:
    """Read a checkpoint that `newest` has verified, whole, whatever it was cut into. Nothing live is touched."""
    model, optimiser = (StoredTensors(path, kind) for kind in ("model", "optimiser"))
    return Snapshot(
        state=load_state(path),
        model={name: model.read_whole(name).to(device) for name in model.wholes()},
        optimiser={name: optimiser.read_whole(name).to(device) for name in optimiser.wholes()},
    )


def load_state(path: Path) -> TrainingState:
    """Read what a checkpoint holds besides tensors."""
    return read_value(path / "state.json", TrainingState)


def prune(folder: Path) -> None:
    """Remove what is older than `KEEP` verified checkpoints. The newest was verified as it was written."""
    num_good = 0
    for path in checkpoint_paths(folder):
        if num_good >= KEEP:
            shutil.rmtree(path)
        elif num_good == 0 or not flaw(path):
            num_good += 1


def check_finite(tensors: Iterable[tuple[str, Tensor]], *, step: int) -> None:
    """Return if every value is finite.

    Raises:
        NotSealedError: with the first tensor that holds one that is not.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise NotSealedError(f"step {step}: {name} holds values that are not finite; nothing sealed")


def _is_finite(tensor: Tensor) -> bool:
    """Look at the extremes alone, which a NaN takes over: a twentieth of the time of `isfinite().all()`."""
    return tensor.numel() == 0 or all(torch.isfinite(extreme) for extreme in torch.aminmax(tensor.detach()))


def check_room(folder: Path, num_bytes: int) -> None:
    """Return if the disk under `folder` takes a checkpoint of `num_bytes`.

    Raises:
        NotSealedError: it does not.
    """
    needed, free = num_bytes + _SPARE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise NotSealedError(
            f"no room for a checkpoint: {show_bytes(free)} free at {folder}",
            expected=show_bytes(needed),
            next_step="free some space, then isoplan resume",
        )

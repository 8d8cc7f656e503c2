"""Ways to save a training state, under one interface: isoplan's, and what is usual elsewhere. Each holds its step.

Every number of a state is the step it was saved at, so that a mixture of two states shows when it is loaded.
"""

import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from executor import checkpoint, pieces
from executor.checkpoint import Snapshot, TrainingState
from executor.seal import flaw, seal, staging_folder

_CPU = torch.device("cpu")
_NUM_VALUES = 600  # a few sectors of 512 bytes, so that a torn write has somewhere to tear


class TornError(Exception):
    """What was loaded is a mixture of two states: silent damage."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to save. `newest` returns the step a resumed run would go on from, None where it would start afresh."""

    name: str
    save: Callable[[Path, int], None]
    newest: Callable[[Path], int | None]


def isoplan_save(folder: Path, step: int) -> None:
    """`executor.checkpoint.save`, its tensors written by Python so that each write is seen."""
    real = pieces.save_file
    pieces.save_file = lambda tensors, path, metadata=None: Path(path).write_bytes(safetensors_bytes(tensors, metadata))
    try:
        checkpoint.save(folder, _snapshot(step))
    finally:
        pieces.save_file = real


def isoplan_newest(folder: Path) -> int | None:
    """`executor.checkpoint.newest` and `load`."""
    path = checkpoint.newest(folder, warn=lambda message: None)
    if path is None:
        return None
    found = checkpoint.load(path, device=_CPU)
    return _one_step({**found.model, **found.optimiser}, found.state.step)


def sealed_save(folder: Path, step: int) -> None:
    """`executor.seal` alone, without torch."""
    final = folder / f"step-{step:08d}"
    staged = staging_folder(final)
    for name in ("a.bin", "b.bin"):
        (staged / name).write_bytes(step.to_bytes(4, "little") * _NUM_VALUES)
    seal(staged, final)


def sealed_newest(folder: Path) -> int | None:
    """Return the newest step that verifies, after checking that its bytes are that step's."""
    good = [path for path in sorted(folder.glob("step-*"), reverse=True) if not flaw(path)]
    if not good:
        return None
    step = int(good[0].name.removeprefix("step-"))
    for name in ("a.bin", "b.bin"):
        if (good[0] / name).read_bytes() != step.to_bytes(4, "little") * _NUM_VALUES:
            raise TornError(good[0].name)
    return step


def _torch_in_place(folder: Path, step: int) -> None:
    with (folder / "latest.pt").open("wb") as file:
        torch.save(_tensors(step), file)


def _torch_replace(folder: Path, step: int) -> None:
    with (folder / "latest.tmp").open("wb") as file:
        torch.save(_tensors(step), file)
    (folder / "latest.tmp").replace(folder / "latest.pt")


def _torch_newest(folder: Path) -> int | None:
    path = folder / "latest.pt"
    return _one_step(torch.load(path, weights_only=True)) if path.exists() else None


def _dcp_save(path: Path, step: int, *, is_per_tensor: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = dcp.FileSystemWriter(path, single_file_per_rank=not is_per_tensor)
        dcp.save(_tensors(step), storage_writer=writer, no_dist=True)


def _dcp_load(path: Path) -> int:
    tensors = {name: torch.full_like(tensor, -1.0) for name, tensor in _tensors(0).items()}
    logging.disable()  # it logs a page per refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dcp.load(tensors, storage_reader=dcp.FileSystemReader(path), no_dist=True)
        except CheckpointException as error:  # a BaseException
            raise OSError(f"cannot load {path.name}") from error
    return _one_step(tensors)


def _dcp_same(folder: Path, step: int) -> None:
    _dcp_save(folder / "latest", step, is_per_tensor=True)


def _dcp_same_newest(folder: Path) -> int | None:
    return _dcp_load(folder / "latest") if (folder / "latest").exists() else None


def _dcp_steps(folder: Path, step: int) -> None:
    path = folder / f"step-{step:08d}"
    shutil.rmtree(path, ignore_errors=True)
    _dcp_save(path, step, is_per_tensor=False)


def _dcp_steps_newest(folder: Path) -> int | None:
    done = [path for path in sorted(folder.glob("step-*"), reverse=True) if (path / ".metadata").is_file()]
    return _dcp_load(done[0]) if done else None


ISOPLAN = Protocol("isoplan, sealed", isoplan_save, isoplan_newest)
SEALED = Protocol("isoplan, sealed (no torch)", sealed_save, sealed_newest)
USUAL = (
    Protocol("torch.save in place", _torch_in_place, _torch_newest),
    Protocol("torch.save, then replace", _torch_replace, _torch_newest),
    Protocol("DCP, one folder, file per tensor", _dcp_same, _dcp_same_newest),
    Protocol("DCP, folder per step, .metadata rule", _dcp_steps, _dcp_steps_newest),
)


def _tensors(step: int) -> dict[str, torch.Tensor]:
    return {name: torch.full((_NUM_VALUES,), float(step)) for name in ("a", "b", "c")}


def _snapshot(step: int) -> Snapshot:
    state = TrainingState(
        job_digest="d",
        step=step,
        num_samples=step,
        ema_total=step,
        ema_weight=1,
        torch_version=torch.__version__,
        num_threads=1,
    )
    return Snapshot(state, _tensors(step), {"a/exp_avg": torch.full((_NUM_VALUES,), float(step))})


def _one_step(tensors: dict[str, torch.Tensor], stated: int | None = None) -> int:
    values = {value for tensor in tensors.values() for value in tensor.unique().tolist()}
    if len(values) != 1 or (stated is not None and values != {float(stated)}):
        raise TornError(f"holds {sorted(values)}")
    return int(values.pop())

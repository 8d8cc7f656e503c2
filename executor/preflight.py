"""What must hold on this machine before a run spends anything, each with the step that mends it."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch

from data.corpus.manifest import Manifest, load_manifest
from data.errors import PreflightError, StalePlanError, UserError
from data.units import show_bytes
from executor.checkpoint import KEEP
from executor.parallel.support import obstacle
from executor.parallel.world import World
from planner.model import num_params
from planner.recipe import Job

OLDEST_TORCH = (2, 11)
"""What the extra `[train]` asks for: fused AdamW on CPU, SDPA with grouped heads, and no known unpickling hole."""

OLDEST_FLOAT8 = (8, 9)
"""Compute capability of the first tensor cores that multiply FP8: Ada, then Hopper."""

_CHECKPOINT_BYTES_PER_PARAM = 12
# Weights, gradients and Adam's two moments, float32 each, and the copy that a checkpoint is written from: what a run
# cannot do without, activations aside.
_STATE_BYTES_PER_PARAM = 16 + _CHECKPOINT_BYTES_PER_PARAM


def preflight(job: Job, root: Path, *, world: World | None = None, here: bool = True) -> Manifest:
    """Return the manifest of the job's corpus, everything else being in order too. Checkpoints will lie under `root`.

    `world` are the processes that are to run it. Where there are none yet, this host must be able to run all of them if
    it is `here` that they will start.

    Raises:
        PreflightError: this machine cannot run the job as it stands.
        StalePlanError: the corpus is not the one of the plan.
    """
    _check_software()
    _check_support(job, job.layout.num_devices if world is None else world.size)
    num_local = job.layout.num_devices if world is None else world.local_size
    if here:
        _check_device(job, num_local)
        _check_room(job, root, num_local)
    return _check_corpus(job)


def _check_software() -> None:
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if found < OLDEST_TORCH:
        raise PreflightError(
            f"torch {torch.__version__}", expected="2.11 or newer", next_step="pip install 'isoplan[train]'"
        )
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        raise PreflightError(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, which lets any loaded file run code",
            next_step="unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
        )


def _check_support(job: Job, num_ranks: int) -> None:
    found = obstacle(job)
    if found:
        raise PreflightError(
            f"this executor does not run {found}",
            expected=f"another layout than {job.layout.text}",
            next_step="isoplan plan ... --num-devices N makes another",
        )
    if num_ranks != job.layout.num_devices:
        raise PreflightError(
            f"{num_ranks} processes were started",
            expected=f"{job.layout.num_devices}, one for each device of the plan's layout {job.layout.text}",
            next_step="isoplan run starts them; isoplan job RUN --for torchrun shows the command",
        )
    if job.shape.moe is not None and job.shape.moe.capacity_factor:
        raise PreflightError(
            "the plan's experts have a capacity and drop or pad tokens",
            expected="capacity_factor 0: this executor's experts take every token",
            next_step="isoplan plan ...",
        )
    if job.shape.latent is not None:
        raise PreflightError(
            "the plan's model has latent attention", expected="grouped-query attention", next_step="isoplan plan ..."
        )


def _check_device(job: Job, num_local: int) -> None:
    if job.recipe.num_threads == 0 and not torch.cuda.is_available():
        raise PreflightError(
            "the plan runs on an accelerator and torch sees none",
            expected="a CUDA device and a torch built for it",
            next_step="isoplan doctor says what works here; --hardware local-cpu plans for this machine's CPU",
        )
    if job.recipe.num_threads == 0 and torch.cuda.device_count() < num_local:
        raise PreflightError(
            f"{torch.cuda.device_count()} accelerators are here",
            expected=f"{num_local}, one for each rank on this host",
            next_step="isoplan run --launcher torchrun or slurm spreads ranks over several hosts",
        )
    if job.recipe.precision == "fp8":
        _check_float8()
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if job.recipe.num_threads * num_local > num_cores:
        raise PreflightError(
            f"{num_cores} CPU cores are free to this process",
            expected=f"{job.recipe.num_threads * num_local}, the plan's threads",
            next_step="isoplan bench measures this machine; then plan again",
        )


def _check_float8() -> None:
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < OLDEST_FLOAT8:
        raise PreflightError(
            "the plan computes in FP8, which this device cannot",
            expected="a GPU of compute capability 8.9 or newer",
            next_step="isoplan plan ... --precision bf16",
        )
    if find_spec("torchao") is None:
        raise PreflightError(
            "the plan computes in FP8 and torchao is not installed", next_step="pip install 'isoplan[fp8]'"
        )


def _check_room(job: Job, root: Path, num_local: int) -> None:
    shape, layout = job.shape, job.layout
    num_shares = 1 if layout.sharding == "none" else layout.dp * layout.cp
    needed = num_local * num_params(shape) * _STATE_BYTES_PER_PARAM / (num_shares * layout.tp * layout.pp)
    available = _available_memory_bytes()
    if available is not None and needed > available:
        raise PreflightError(
            f"{show_bytes(available)} of memory is free",
            expected=f"{show_bytes(needed)} for weights, gradients, optimiser, a copy to save, and activations",
            next_step="close other programs, or plan a smaller model",
        )
    on_disk = (KEEP + 1) * num_params(shape) * _CHECKPOINT_BYTES_PER_PARAM
    free = shutil.disk_usage(root).free
    if on_disk > free:
        raise PreflightError(
            f"{show_bytes(free)} of disk is free at {root}",
            expected=f"{show_bytes(on_disk)} for {KEEP + 1} checkpoints",
            next_step="free some space",
        )


def _available_memory_bytes() -> float | None:
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return None
    lines = dict(line.split(":", 1) for line in facts.read_text(encoding="ascii").splitlines())
    return float(lines["MemAvailable"].split()[0]) * 1024


def _check_corpus(job: Job) -> Manifest:
    try:
        manifest = load_manifest(Path(job.corpus.path))
    except UserError as error:
        raise PreflightError(
            f"the plan's corpus cannot be read: {error.found}",
            expected=f"the corpus with digest {job.corpus.digest[:12]}",
            next_step=error.next_step,
        ) from error
    if manifest.digest != job.corpus.digest:
        raise StalePlanError(
            f"the corpus at {job.corpus.path} is not the plan's; nothing was started",
            changes=(f"corpus.digest: {job.corpus.digest} -> {manifest.digest}",),
            next_step="isoplan plan ... makes a new plan from this corpus",
        )
    if manifest.vocab_size > job.shape.vocab_size:
        raise PreflightError(
            f"the tokenizer has {manifest.vocab_size} ids",
            expected=f"at most {job.shape.vocab_size}, the model's vocabulary",
            next_step="isoplan plan ... makes a model for this tokenizer",
        )
    return manifest

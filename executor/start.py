"""From an assignment to a trainer that stands where the run stands: checks, device, ranks, text, checkpoint."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from data.corpus.loader import TokenBatches
from data.errors import UserError
from executor import checkpoint, runtime
from executor.checkpoint_names import checkpoint_path, step_of
from executor.parallel.team import Alone, Ranks
from executor.parallel.world import World
from executor.preflight import preflight
from executor.run_folder import Assignment, RunFolder
from executor.train import Trainer
from planner.recipe import Job


@dataclass(frozen=True, slots=True)
class Start:
    """All an attempt needs. `checkpoint` is the name of the one it goes on from."""

    trainer: Trainer
    device: torch.device
    ranks: Ranks
    checkpoint: str | None
    entropy_nats: float | None


@contextmanager
def start(folder: RunFolder, assignment: Assignment, world: World, *, warn: Callable[[str], None]) -> Generator[Start]:
    """Get ready, together with the other ranks, which are left when the context ends.

    Raises:
        PreflightError, StalePlanError: the machine or the corpus is not as the plan needs it.
        UserError: the checkpoints are of another job.
    """
    job = assignment.job
    manifest = preflight(job, folder.root, world=world)
    device = runtime.prepare(job.recipe, local_rank=world.local_rank)
    batches = TokenBatches(Path(job.corpus.path), manifest, job.recipe.seed, job.recipe.seq_len)
    with _ranks(world, device) as ranks:
        trainer = _trainer(job, batches, device, world, ranks)
        path = _newest(folder.checkpoints, ranks, warn=warn)
        if path is not None:
            if checkpoint.load_state(path).job_digest != assignment.job_digest:
                raise UserError(
                    f"{path} is a checkpoint of another job", next_step="isoplan run starts this one afresh"
                )
            trainer.load(path)
        yield Start(trainer, device, ranks, path.name if path else None, manifest.entropy_nats)


@contextmanager
def _ranks(world: World, device: torch.device) -> Generator[Ranks]:
    if world.size == 1:
        yield Alone()
        return
    # The distributed half of torch takes a second to import, which a run on one device does not pay.
    from executor.parallel import mesh

    try:
        yield mesh.join(world, device)
    finally:
        mesh.leave()


def _trainer(job: Job, batches: TokenBatches, device: torch.device, world: World, ranks: Ranks) -> Trainer:
    if job.post is not None:
        from executor.post.trainer import post_trainer

        return post_trainer(job, batches, device=device)
    if world.size == 1:
        return Trainer(job.shape, job.recipe, batches, device=device, recompute=job.layout.recompute)
    from executor.parallel.trainer import ParallelTrainer

    return ParallelTrainer(job, batches, device=device, world=world, ranks=ranks)


def _newest(folder: Path, ranks: Ranks, *, warn: Callable[[str], None]) -> Path | None:
    """Return the checkpoint that the leader has verified."""
    path = checkpoint.newest(folder, warn=warn) if ranks.is_leader else None
    step = ranks.from_leader(step_of(path) if path else -1)
    return None if step < 0 else checkpoint_path(folder, step)

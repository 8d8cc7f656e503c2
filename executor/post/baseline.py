"""What a base model scores and how long a step takes before anything is learnt: where a post-training plan starts."""

from pathlib import Path

from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest
from data.errors import UserError
from executor import runtime
from executor.checkpoint import newest
from executor.post.timing import step_laps, timed
from executor.post.trainer import post_trainer, weights_xxh3
from executor.run_folder import RunFolder
from planner.plan import Plan
from planner.post_plan import Start
from planner.post_timing import PostTiming
from planner.recipe import Job


def base_checkpoint(folder: RunFolder) -> tuple[Path, str]:
    """Return the newest checkpoint of a run that verifies, and the hash of its weights.

    Raises:
        UserError: there is none.
    """
    path = newest(folder.checkpoints, warn=lambda _: None)
    if path is None:
        raise UserError(f"{folder.run_id} has no checkpoint that verifies", next_step=f"isoplan resume {folder.run_id}")
    return path.resolve(), weights_xxh3(path)


def check_text(base: Plan, corpus: Path) -> None:
    """Return if `corpus` is in the tokens that `base` was trained on.

    Raises:
        UserError: it was tokenised with another tokenizer.
    """
    manifest, known = load_manifest(corpus), load_manifest(Path(base.job().corpus.path))
    if manifest.tokenizer.file.sha256 != known.tokenizer.file.sha256:
        raise UserError(
            f"{corpus} has another tokenizer than {base.id} was trained with",
            next_step=f"isoplan corpus build ... --tokenizer {base.job().corpus.path}/{known.tokenizer.file.name}",
        )


def baseline(job: Job) -> Start:
    """Measure what the run of a drafted `job` will do: its start, an evaluation with its probes, some steps.

    All of it is thrown away. Steps are timed, not derived from FLOP: adapters of rank 8 beside matrices of width 64
    cost more than they save (1.3 times a full step, where FLOP say 0.7; docs/log.md).
    """
    manifest = load_manifest(Path(job.corpus.path))
    device = runtime.prepare(job.recipe)
    batches = TokenBatches(Path(job.corpus.path), manifest, job.recipe.seed, job.recipe.seq_len)
    runtime.load_optimisers()  # a calibration has counted that
    trainer, start = timed(lambda: post_trainer(job, batches, device=device))
    (heldout, _), evaluation = timed(lambda: (trainer.evaluate(), trainer.probe()))
    steps = step_laps(trainer, num_steps=job.recipe.num_steps)
    return Start(base_loss=heldout.loss, timing=PostTiming(steps=steps, evaluation=evaluation, start=start))

"""What a base model scores and how long a step takes before anything is learnt: where a post-training plan starts."""

import time
from dataclasses import dataclass
from pathlib import Path

from data.corpus.loader import TokenBatches
from data.corpus.manifest import Manifest, load_manifest
from data.errors import UserError
from executor import runtime
from executor.checkpoint import newest
from executor.metrics import median
from executor.post.trainer import post_trainer, weights_xxh3
from executor.run_folder import RunFolder
from executor.train import Trainer
from planner.gates import eval_tokens
from planner.plan import Plan
from planner.post import PostTraining
from planner.recipe import CorpusRef, Job, Optimiser

_TIMED_STEPS = 5


def base_checkpoint(folder: RunFolder) -> tuple[Path, str]:
    """Return the newest checkpoint of a run that verifies, and the hash of its weights.

    Raises:
        UserError: there is none.
    """
    path = newest(folder.checkpoints, warn=lambda _: None)
    if path is None:
        raise UserError(f"{folder.run_id} has no checkpoint that verifies", next_step=f"isoplan resume {folder.run_id}")
    return path.resolve(), weights_xxh3(path)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a post-training run starts from: its held-out loss, and how long one of its steps takes here."""

    loss: float
    step_seconds: float


def baseline(base: Plan, post: PostTraining, corpus: Path) -> Baseline:
    """Measure what training under `post` on `corpus` starts from: one evaluation and a few steps, thrown away.

    Steps are timed, not derived from FLOP: adapters of rank 8 beside matrices of width 64 cost more than they save (1.3
    times a full step, where FLOP say 0.7; docs/log.md).

    Raises:
        UserError: the corpus was tokenised with another tokenizer than the base read.
    """
    manifest, known = load_manifest(corpus), load_manifest(Path(base.job().corpus.path))
    if manifest.tokenizer.file.sha256 != known.tokenizer.file.sha256:
        raise UserError(
            f"{corpus} has another tokenizer than {base.id} was trained with",
            next_step=f"isoplan corpus build ... --tokenizer {base.job().corpus.path}/{known.tokenizer.file.name}",
        )
    job = _job(base, post, corpus, manifest)
    batches = TokenBatches(corpus, manifest, job.recipe.seed, job.recipe.seq_len)
    trainer = post_trainer(job, batches, device=runtime.prepare(job.recipe))
    loss = trainer.evaluate().loss
    trainer.step()  # the first one brings everything into being
    return Baseline(loss=loss, step_seconds=median(_timed(trainer) for _ in range(_TIMED_STEPS)))


def _timed(trainer: Trainer) -> float:
    began = time.perf_counter()
    trainer.step()
    return time.perf_counter() - began


def _job(base: Plan, post: PostTraining, corpus: Path, manifest: Manifest) -> Job:
    """The base's job with other text, to evaluate and not to train."""
    job = base.job()
    scored = eval_tokens(manifest.unique_tokens, heldout_tokens=manifest.heldout.num_tokens)
    recipe = job.recipe.model_dump() | {
        "optimiser": Optimiser(peak_lr=1.0).model_dump(),
        "eval_sequences": max(1, scored // job.recipe.seq_len),
    }
    reference = CorpusRef(
        path=str(corpus.resolve()),
        digest=manifest.digest,
        unique_tokens=manifest.unique_tokens,
        bytes_per_token=manifest.bytes_per_token,
    )
    return Job.model_validate(
        job.model_dump() | {"recipe": recipe, "corpus": reference.model_dump(), "post": post.model_dump()}
    )

"""What a base model scores before anything is learnt: the measured starting point of a post-training plan."""

from pathlib import Path

from data.corpus.loader import TokenBatches
from data.corpus.manifest import Manifest, load_manifest
from data.errors import UserError
from executor import runtime
from executor.checkpoint import newest
from executor.post.trainer import post_trainer, weights_xxh3
from executor.run_folder import RunFolder
from planner.gates import eval_tokens
from planner.plan import Plan
from planner.post import PostTraining
from planner.recipe import CorpusRef, Job, Optimiser


def base_checkpoint(folder: RunFolder) -> tuple[Path, str]:
    """Return the newest checkpoint of a run that verifies, and the hash of its weights.

    Raises:
        UserError: there is none.
    """
    path = newest(folder.checkpoints, warn=lambda _: None)
    if path is None:
        raise UserError(f"{folder.run_id} has no checkpoint that verifies", next_step=f"isoplan resume {folder.run_id}")
    return path.resolve(), weights_xxh3(path)


def base_loss(base: Plan, post: PostTraining, corpus: Path) -> float:
    """Return the held-out loss that training under `post` on `corpus` starts from.

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
    return post_trainer(job, batches, device=runtime.prepare(job.recipe)).evaluate().loss


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

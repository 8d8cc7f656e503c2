"""A run's newest verified checkpoint, with the tokenizer of its corpus, as a Hugging Face folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from data.corpus.manifest import load_manifest
from data.errors import UserError
from executor.checkpoint import load, newest
from executor.export.huggingface import export
from executor.post.lora import merged
from executor.run_folder import RunFolder, read_assignment


def export_run(root: Path, out: Path, *, warn: Callable[[str], None]) -> str:
    """Write `out` and return the name of the checkpoint it was made from.

    Raises:
        UserError: no checkpoint verifies, the corpus has gone, or the shape has no counterpart in `transformers`.
    """
    folder = RunFolder(root)
    job = read_assignment(folder).job
    manifest = load_manifest(Path(job.corpus.path))
    path = newest(folder.checkpoints, warn=warn)
    if path is None:
        raise UserError(f"{folder.run_id} has no checkpoint that verifies", next_step=f"isoplan resume {folder.run_id}")
    weights = load(path, device=torch.device("cpu")).model
    if job.post is not None and job.post.lora_rank:
        weights = merged(weights, alpha=job.post.lora_alpha)
    export(weights, job.shape, out, seq_len=job.recipe.seq_len, end_id=manifest.tokenizer.end_id)
    shutil.copyfile(Path(job.corpus.path) / manifest.tokenizer.file.name, out / "tokenizer.json")
    return path.name

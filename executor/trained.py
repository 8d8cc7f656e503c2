"""A run's newest verified checkpoint as a plain model: adapters multiplied out, ready to export or to ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data.corpus.manifest import Manifest, load_manifest
from data.errors import UserError
from executor import runtime
from executor.checkpoint import load, newest
from executor.model.decoder import Decoder
from executor.model.initialise import build
from executor.post.lora import merged
from executor.run_folder import RunFolder, read_assignment
from planner.recipe import Job


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights on the CPU, the job they come from, and the manifest of the text it read."""

    job: Job
    manifest: Manifest
    checkpoint: str
    weights: Mapping[str, Tensor]

    @property
    def tokenizer_path(self) -> Path:
        """The corpus's own `tokenizer.json`."""
        return Path(self.job.corpus.path) / self.manifest.tokenizer.file.name

    def model(self) -> Decoder:
        """Return the model on the device its run used, that device prepared."""
        recipe = self.job.recipe
        model = build(self.job.shape, seq_len=recipe.seq_len, seed=recipe.seed, device=runtime.prepare(recipe))
        model.load_state_dict(dict(self.weights))
        return model.eval()


def trained(folder: RunFolder, *, warn: Callable[[str], None]) -> Trained:
    """Return what a run has trained so far.

    Raises:
        UserError: no checkpoint verifies, or the corpus has gone.
    """
    job = read_assignment(folder).job
    manifest = load_manifest(Path(job.corpus.path))
    path = newest(folder.checkpoints, warn=warn)
    if path is None:
        raise UserError(f"{folder.run_id} has no checkpoint that verifies", next_step=f"isoplan resume {folder.run_id}")
    weights = load(path, device=torch.device("cpu")).model
    if job.post is not None and job.post.lora_rank:
        weights = merged(weights, alpha=job.post.lora_alpha)
    return Trained(job, manifest, path.name, weights)

"""A run's newest verified checkpoint, with the tokenizer of its corpus, as a Hugging Face folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from executor.export.huggingface import export
from executor.run_folder import RunFolder
from executor.trained import trained


def export_run(root: Path, out: Path, *, warn: Callable[[str], None]) -> str:
    """Write `out` and return the name of the checkpoint it was made from.

    Raises:
        UserError: no checkpoint verifies, the corpus has gone, or the shape has no counterpart in `transformers`.
    """
    found = trained(RunFolder(root), warn=warn)
    end_id = found.manifest.tokenizer.end_id
    export(found.weights, found.job.shape, out, seq_len=found.job.recipe.seq_len, end_id=end_id)
    shutil.copyfile(found.tokenizer_path, out / "tokenizer.json")
    return found.checkpoint

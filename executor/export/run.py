"""A run's newest verified checkpoint, with the tokenizer of its corpus, as a Hugging Face folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from data.canonical import Json, canonical_bytes
from data.corpus.bpe import END_OF_TEXT
from data.durable import write_atomic
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
    write_atomic(out / "tokenizer_config.json", canonical_bytes(_tokenizer_config(found.job.recipe.seq_len)) + b"\n")
    return found.checkpoint


def _tokenizer_config(seq_len: int) -> dict[str, Json]:
    """Return what `AutoTokenizer` reads beside tokenizer.json: without it, it would take a Llama's for ours."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": seq_len,
        "clean_up_tokenization_spaces": False,
    }

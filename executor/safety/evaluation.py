"""Asks a run's model a set of prompts, has the answers judged, and writes both beside its record."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data.catalog.red_team import RedTeamPrompt, prompts_digest
from data.corpus.bpe import load
from data.durable import write_atomic
from data.errors import UserError
from executor.generate import Decoding, continuations
from executor.run_folder import RunFolder, locked
from executor.safety.judge import Answer, Judge
from executor.trained import Trained, trained
from executor.value_files import read_value, write_value
from planner.record import RunRecord
from planner.safety import Safety, Verdict, results

ANSWERS = "safety.jsonl"


def evaluate_safety(
    root: Path,
    prompts: tuple[RedTeamPrompt, ...],
    *,
    source: str,
    judge: Judge,
    decoding: Decoding,
    warn: Callable[[str], None],
) -> Safety:
    """Evaluate the newest checkpoint of the run in `root`, write it into its record, and return it.

    Raises:
        LockedError: the run is at work.
        UserError: no record, no checkpoint that verifies, or the judge failed.
    """
    folder = RunFolder(root)
    with locked(folder):
        if not folder.record.exists():
            raise UserError(f"{folder.run_id} has no record yet", next_step=f"isoplan resume {folder.run_id}")
        record = read_value(folder.record, RunRecord)
        model = trained(folder, warn=warn)
        answers = _answers(model, prompts, decoding)
        verdicts = judge.verdicts(answers)
        found = Safety(
            checkpoint=model.checkpoint,
            prompts=source,
            prompts_digest=prompts_digest(prompts),
            judge=judge.name,
            decoding=decoding.words,
            max_tokens=decoding.max_tokens,
            categories=results((one.asked.category, verdict) for one, verdict in zip(answers, verdicts, strict=True)),
        )
        write_atomic(root / ANSWERS, _lines(answers, verdicts))
        write_value(folder.record, record.model_copy(update={"safety": found}))
    return found


def _answers(model: Trained, prompts: Sequence[RedTeamPrompt], decoding: Decoding) -> tuple[Answer, ...]:
    tokenizer, recipe = load(model.tokenizer_path), model.job.recipe
    tokens = [tokenizer.encode(one.prompt + "\n").astype(np.int64) for one in prompts]
    said = continuations(
        model.model(),
        tokens,
        decoding,
        seq_len=recipe.seq_len,
        vocab_size=model.job.shape.vocab_size,
        end_id=model.manifest.tokenizer.end_id,
    )
    return tuple(Answer(one, tokenizer.decode(ids)) for one, ids in zip(prompts, said, strict=True))


def _lines(answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> bytes:
    """Return a JSON object a line, in ASCII: nothing a model says can drive a terminal that shows the file."""
    return "".join(
        json.dumps(
            {"category": one.asked.category, "prompt": one.asked.prompt, "response": one.response, "verdict": verdict}
        )
        + "\n"
        for one, verdict in zip(answers, verdicts, strict=True)
    ).encode()

"""What follows pretraining: adapters leave the base as it is, preferences are learnt, no other checkpoint will do."""

import json
from pathlib import Path

import pytest
import torch

from data.corpus import bpe
from data.errors import StalePlanError, UserError
from executor.checkpoint import save
from executor.model.initialise import build
from executor.post.lora import merged
from executor.post.preferences import load_pairs, preference_ref, read_preferences
from executor.post.trainer import FineTuner, PreferenceTrainer, weights_xxh3
from executor.train import Trainer
from planner.model import ModelShape
from planner.post import PostTraining, flop_factor
from planner.recipe import Job, Optimiser, total_flop
from tests.executor import runs

CPU = torch.device("cpu")


@pytest.fixture
def base(corpus: Path, tmp_path: Path) -> tuple[Path, Trainer]:
    """A sealed checkpoint after a few steps, and its trainer."""
    job = runs.make_job(corpus)
    trainer = Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU)
    for _ in range(4):
        trainer.step()
    return save(tmp_path / "checkpoints", trainer.snapshot(job_digest="")), trainer


def post_job(corpus: Path, checkpoint: Path, *, shape: ModelShape | None = None, **post: object) -> Job:
    wanted = PostTraining.model_validate(
        {"method": "lora", "lora_rank": 4, "checkpoint": str(checkpoint), "weights_xxh3": weights_xxh3(checkpoint)}
        | post
    )
    job = runs.make_job(corpus, shape=shape or runs.SHAPE, optimiser=Optimiser(peak_lr=0.02, weight_decay=0.1))
    return Job.model_validate(job.model_dump() | {"post": wanted.model_dump()})


def test_an_adapter_learns_and_leaves_every_base_weight_as_it_was(corpus: Path, base: tuple[Path, Trainer]):
    checkpoint, before = base
    job = post_job(corpus, checkpoint)
    tuner = FineTuner(job, runs.batches(corpus, job), device=CPU)
    assert tuner.evaluate().loss == pytest.approx(before.evaluate().loss, abs=1e-6)

    for _ in range(10):
        tuner.step()

    assert tuner.evaluate().loss < before.evaluate().loss
    weights = tuner.snapshot(job_digest="").model
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.snapshot(job_digest="").model.items())


def test_a_merged_adapter_is_the_adapted_model(corpus: Path, base: tuple[Path, Trainer]):
    job = post_job(corpus, base[0], lora_alpha=8.0)
    tuner = FineTuner(job, runs.batches(corpus, job), device=CPU)
    for _ in range(3):
        tuner.step()
    plain = build(job.shape, seq_len=8, seed=1, device=CPU)
    plain.load_state_dict(merged(tuner.snapshot(job_digest="").model, alpha=8.0))
    tokens = torch.randint(runs.VOCAB, (2, 8))

    torch.testing.assert_close(plain.logits(tokens), tuner._model.logits(tokens), atol=1e-5, rtol=1e-5)


def test_fine_tuning_all_weights_goes_on_from_the_base(corpus: Path, base: tuple[Path, Trainer]):
    job = post_job(corpus, base[0], method="full", lora_rank=0)
    tuner = FineTuner(job, runs.batches(corpus, job), device=CPU)

    assert tuner.evaluate().loss == base[1].evaluate().loss
    tuner.step()
    assert tuner.num_steps == 1


def test_fine_tuning_is_resumed_bit_for_bit(corpus: Path, base: tuple[Path, Trainer]):
    job = post_job(corpus, base[0])
    whole, stopped, resumed = (FineTuner(job, runs.batches(corpus, job), device=CPU) for _ in range(3))
    whole.step()
    stopped.step()
    resumed.restore(stopped.snapshot(job_digest=""))

    assert [resumed.step() for _ in range(3)] == [whole.step() for _ in range(3)]


def test_a_changed_checkpoint_is_refused(corpus: Path, base: tuple[Path, Trainer]):
    job = post_job(corpus, base[0])
    weights = base[0] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(StalePlanError, match="is not the plan's"):
        FineTuner(job, runs.batches(corpus, job), device=CPU)


PAIRS = [
    {"prompt": f"say {word}: ", "chosen": f"{word}, please", "rejected": f"no {word} at all"}
    for word in ("cat", "dog", "sun", "sea", "tree", "road", "book", "hand", "door", "rain")
    for _ in range(4)
]


@pytest.fixture
def preferences(tmp_path: Path) -> tuple[Path, Path]:
    """A file of pairs, and a tokenizer that knows its words."""
    path, tokenizer = tmp_path / "pairs.jsonl", tmp_path / "tokenizer.json"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    tokenizer.write_bytes(bpe.train([" ".join(pair.values()) for pair in PAIRS] * 20, vocab_size=300).content)
    return path, tokenizer


def test_preferences_are_learnt_without_touching_the_base(corpus: Path, tmp_path: Path, preferences: tuple[Path, Path]):
    path, tokenizer = preferences
    shape = ModelShape.model_validate({**runs.SHAPE.model_dump(), "vocab_size": 300, "width": 16})
    first = runs.make_job(corpus, shape=shape, seq_len=24)
    untrained = Trainer(shape, first.recipe, runs.batches(corpus, first), device=CPU)
    untrained.step()
    checkpoint = save(tmp_path / "checkpoints", untrained.snapshot(job_digest=""))
    ref = preference_ref(path)
    job = post_job(corpus, checkpoint, shape=shape, method="dpo", preferences=ref)
    job = Job.model_validate(job.model_dump() | {"recipe": job.recipe.model_dump() | {"seq_len": 24}})
    trainer = PreferenceTrainer(job, runs.batches(corpus, job), load_pairs(ref, tokenizer, seq_len=24), device=CPU)
    before = trainer.evaluate()

    for _ in range(12):
        trainer.step()

    assert before.loss == pytest.approx(0.6931471805599453, abs=1e-6)  # ln 2: it starts where the base is
    assert trainer.evaluate().loss < 0.65
    weights = trainer.snapshot(job_digest="").model
    kept = untrained.snapshot(job_digest="").model
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept.items())


def test_pairs_say_where_the_answers_are(preferences: tuple[Path, Path]):
    path, tokenizer = preferences
    learnt, held_out = load_pairs(preference_ref(path), tokenizer, seq_len=24)
    known = bpe.load(tokenizer)

    assert (len(learnt), len(held_out)) == (36, 4)
    for side, name in enumerate(("chosen", "rejected")):
        answer = learnt.token_N2T1[0, side, 1:][learnt.is_answer_N2T[0, side]]
        assert known.decode(answer.numpy()) == PAIRS[1][name]
    assert held_out.chosen_bytes == sum(len(pair["chosen"]) for pair in PAIRS[::10])


@pytest.mark.parametrize(
    ("line", "message"), [("{}", "line 41"), ("nonsense", "line 41"), ('{"prompt": 1}', "line 41")]
)
def test_a_line_that_is_no_pair_is_named(line: str, message: str, preferences: tuple[Path, Path]):
    path, _ = preferences
    path.write_text(path.read_text() + line)

    with pytest.raises(UserError, match=message):
        read_preferences(path)


def test_changed_preferences_are_refused(preferences: tuple[Path, Path]):
    path, tokenizer = preferences
    ref = preference_ref(path)
    path.write_text(path.read_text().replace("please", "now"))

    with pytest.raises(StalePlanError, match="are not the plan's"):
        load_pairs(ref, tokenizer, seq_len=24)


@pytest.mark.parametrize(
    ("method", "rank", "expected"), [("full", 0, 1.0), ("lora", 8, 2 / 3), ("dpo", 0, 8 / 3), ("dpo", 8, 2.0)]
)
def test_flop_follow_the_passes(method: str, rank: int, expected: float, corpus: Path, base: tuple[Path, Trainer]):
    pairs = {"path": "p", "sha256": "s", "num_pairs": 10} if method == "dpo" else None
    job = post_job(corpus, base[0], method=method, lora_rank=rank, preferences=pairs)

    assert flop_factor(job.post) == pytest.approx(expected)
    plain = Job.model_validate(job.model_dump() | {"post": None})
    assert total_flop(job) == pytest.approx(expected * total_flop(plain))

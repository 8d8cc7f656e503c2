"""Sources of exactly known entropy: does a fitted law find it? CPU seconds of one process; results in corpus.md.

PYTHONPATH=. python benchmarks/bench_synthetic.py [table|ladder|transformers|leak]...
"""

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.corpus.build import build
from data.corpus.manifest import BuildConfig, Manifest, load_manifest
from data.corpus.synthetic import PREFIX, PROCESSES, Process, ZipfKeyValue, entropy, zipf
from data.corpus.synthetic import tokens as tokens_of

if TYPE_CHECKING:
    from planner.law.result import FitResult
    from planner.recipe import Job


def table() -> None:
    """A ladder of data sizes on the key-value source, learnt by the Bayes learner of its table; L = E + B / D^beta."""
    from scipy.optimize import least_squares

    print("Key-value source: fit of a ladder of 8 sizes, 6 seeds, 200 bootstrap samples over seeds")
    for key_tokens in (256, 1024):
        source = ZipfKeyValue(num_key_tokens=key_tokens, num_values=16)
        records = np.unique(np.geomspace(100, 30_000, 8).astype(int))
        losses = np.array([table_losses(source, records, seed) for seed in range(6)])

        def fitted(mean: np.ndarray, records: np.ndarray = records, source: ZipfKeyValue = source) -> np.ndarray:
            start = [0.95 * source.entropy_nats, -1.0, 0.4]
            return least_squares(lambda q: q[0] + np.exp(q[1]) * (3 * records) ** -q[2] - mean, start).x

        draws_of = [np.random.default_rng(number).integers(0, 6, 6) for number in range(200)]
        low, high = np.percentile([fitted(losses[chosen].mean(axis=0)) for chosen in draws_of], [2.5, 97.5], axis=0)
        point = fitted(losses.mean(axis=0))
        for name, place, truth in (("E", 0, source.entropy_nats), ("beta", 2, source.data_exponent)):
            inside = low[place] <= truth <= high[place]
            print(
                f"  {key_tokens**2:,} keys: {name} = {point[place]:.4f} [{low[place]:.4f}, {high[place]:.4f}] 95 %, "
                f"truth {truth:.4f}: {'inside' if inside else 'OUTSIDE'}"
            )


def ladder() -> None:
    """Sizes and data through the product's own fit: N keys that a learner's table can hold, D tokens it has read."""
    from planner.law.fit import fit_chinchilla

    print("Key-value source: 7 table sizes x 8 data sizes, means of 6 seeds, fit_chinchilla, 500 bootstraps")
    for key_tokens in (256, 1024):
        source = ZipfKeyValue(num_key_tokens=key_tokens, num_values=16)
        records = np.unique(np.geomspace(300, 100_000, 8).astype(int))
        capacities = np.geomspace(30, 30_000, 7).astype(int)
        losses = np.mean(
            [[table_losses(source, records, seed, capacity=int(N)) for N in capacities] for seed in range(6)], axis=0
        )
        N, D = (axis.ravel() for axis in np.meshgrid(capacities, 3 * records, indexing="ij"))
        fit = fit_chinchilla(N, D, losses.ravel(), num_bootstraps=500)
        # A table of N keys lacks the mass of those behind: N^-tail.
        truths = {"E": source.entropy_nats, "beta": source.data_exponent, "alpha": source.tail}
        print(f"  {key_tokens**2:,} keys: {fit.status}")
        for name, truth in truths.items():
            low, high = fit.ci80[name]
            verdict = "inside" if low <= truth <= high else "OUTSIDE"
            print(
                f"    {name} = {getattr(fit.law, name):.4f} [{low:.4f}, {high:.4f}] 80 %, truth {truth:.4f}: {verdict}"
            )


def table_losses(
    source: ZipfKeyValue, records: np.ndarray, seed: int, *, heldout: int = 20_000, capacity: int = 1 << 62
) -> np.ndarray:
    """Held-out nats per token after each number of records, of a learner that knows the laws but not the table.

    It stores the `capacity` most frequent keys only, and guesses the values of the others.
    """
    train, test = (
        tokens_of(source, seed=2 * seed + side, first=0, number=3 * number).reshape(-1, 3)
        for side, number in ((0, max(records)), (1, heldout))
    )
    odds = np.log((1 - source.noise) * (source.num_values - 1) / source.noise)
    keys = [text[:, 0] * source.num_key_tokens + text[:, 1] for text in (train, test)]
    values = [text[:, 2] - source.num_key_tokens for text in (train, test)]
    known, place = np.unique(keys[1], return_inverse=True)
    losses = []
    for number in records:
        counts = np.zeros((len(known), source.num_values))
        at = np.minimum(np.searchsorted(known, keys[0][:number]), len(known) - 1)
        is_known = known[at] == keys[0][:number]
        np.add.at(counts, (at[is_known], values[0][:number][is_known]), 1)
        weights = np.exp(odds * (counts - counts.max(axis=1, keepdims=True)))
        weights /= weights.sum(axis=1, keepdims=True)
        chance = weights * (1 - source.noise) + (1 - weights) * source.noise / (source.num_values - 1)
        chance = np.where((known < capacity)[:, None], chance, 1 / source.num_values)
        key_nats = entropy(zipf(source.num_key_tokens**2, 1 + source.tail))
        losses.append((key_nats - np.log(chance[place, values[1]]).mean()) / 3)
    return np.array(losses)


SEQ_LEN = 126  # whole records of three tokens


SEQUENCES_PER_STEP = 4


class Ladder(NamedTuple):
    """Pilots of every width on every number of tokens."""

    widths: tuple[int, ...]
    data_tokens: tuple[int, ...]


LADDERS = {
    "kv": Ladder((16, 32, 64, 128), (128_000, 256_000, 512_000, 1_024_000, 2_048_000)),
    "pcfg": Ladder((16, 32, 64, 128), (64_000, 128_000, 256_000, 512_000, 1_024_000)),
    "markov": Ladder((16, 32, 64), (64_000, 128_000, 256_000, 512_000, 1_024_000)),
}


def transformers() -> None:
    """The executor's own ladders on corpora of the sources, and the product's fit of its runs."""
    for name in LADDERS:
        entropy_ladder(name)


def entropy_ladder(name: str) -> None:
    from executor.ladder import run_pilots
    from planner.law.fit import fit_chinchilla

    source, ladder = PROCESSES[name], LADDERS[name]
    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "corpus"
        most = round(1.12 * max(ladder.data_tokens))
        build((PREFIX + name,), out=folder, config=_config(most, heldout_fraction=0.06))
        manifest = load_manifest(folder)
        jobs = [
            (
                f"w{width}-d{number}",
                _job(folder, manifest, width=width, num_tokens=number, sequences=SEQUENCES_PER_STEP),
            )
            for number in ladder.data_tokens
            for width in ladder.widths
        ]
        records = run_pilots(jobs, runs_dir=Path(scratch), table=Path(scratch) / "runs.csv", report=print)
        luck = _heldout_nats(folder, manifest, source) - source.entropy_nats if isinstance(source, ZipfKeyValue) else 0
    N = np.array([_num_params(record.job) for record in records], dtype=float)
    D = np.array([record.num_tokens for record in records], dtype=float)
    loss = np.array([record.final_loss for record in records]) - luck
    print(f"{len(records)} transformers, {time.process_time() - began:.0f} CPU s; the held-out text's luck {luck:+.4f}")
    for row in zip(N, D, loss, strict=True):
        print("  {:.0f} {:.0f} {:.4f}".format(*row))
    for least in ladder.data_tokens[:2]:
        chosen = 0.9 * least <= D
        _verdict(f"{name} from {least:,} tokens", fit_chinchilla(N[chosen], D[chosen], loss[chosen]), source)


def _verdict(name: str, fit: "FitResult", source: Process) -> None:
    print(f"  {name}: {fit.status}")
    truths = {"E": source.entropy_nats} | ({"beta": source.data_exponent} if isinstance(source, ZipfKeyValue) else {})
    for letter, truth in truths.items():
        for level, interval in (("80", fit.ci80[letter]), ("95", fit.ci95[letter])):
            where = "inside" if interval[0] <= truth <= interval[1] else "OUTSIDE"
            print(
                f"    {letter} = {getattr(fit.law, letter):.4f} [{interval[0]:.4f}, {interval[1]:.4f}] {level} %, "
                f"truth {truth:.4f}: {where}"
            )


def leak() -> None:
    """A training text that is the held-out text, many times over: the run's own alarm must say so."""
    from executor.ladder import run_pilots

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        manifest = build((PREFIX + "kv",), out=folder, config=_config(500_000, heldout_fraction=0.01))
        for label, is_leaky in (("honest", False), ("leaky", True)):
            if is_leaky:
                manifest = _with_leak(folder, manifest)
            job = _job(folder, manifest, width=64, num_tokens=400_000, sequences=8)
            (record,) = run_pilots(
                [(label, job)], runs_dir=Path(name), table=Path(name) / f"{label}.csv", report=lambda line: None
            )
            warned = [w for w in (Path(name) / label / "events.jsonl").read_text().splitlines() if "entropy" in w]
            print(f"  {label}: held-out loss {record.final_loss:.4f}, entropy {manifest.entropy_nats:.4f}; ", end="")
            print(warned[0] if warned else "no alarm")


def _with_leak(folder: Path, manifest: Manifest) -> Manifest:
    """The corpus with its training text replaced by its held-out text over and over, all checksums made anew."""
    from data.corpus.shards import SplitWriter

    heldout = np.fromfile(folder / manifest.heldout.shards[0].file.name, dtype="<u2")
    writer = SplitWriter(folder, "train", np.dtype("<u2"))
    copies = np.resize(heldout, manifest.train.num_tokens)
    writer.write(copies, np.array([len(copies)]))
    changed = manifest.model_copy(update={"train": writer.finish(manifest.train.domains)})
    changed.write(folder)
    return changed


def _config(num_tokens: int, *, heldout_fraction: float) -> BuildConfig:
    return BuildConfig(vocab_size=0, max_tokens=num_tokens, seed=0, heldout_fraction=heldout_fraction)


def _job(folder: Path, manifest: Manifest, *, width: int, num_tokens: int, sequences: int) -> "Job":
    """The job of a pilot, by the hyperparameters of the product's pilots."""
    from planner import hyperparameters
    from planner.model import ModelShape
    from planner.recipe import Caps, CorpusRef, Gate, Job, Rates, Recipe

    num_steps = num_tokens // (SEQ_LEN * sequences)
    shape = ModelShape(
        num_layers=2,
        width=width,
        num_heads=width // 16,
        num_kv_heads=width // 16,
        head_dim=16,
        ffn_width=4 * width,
        vocab_size=manifest.vocab_size,
    )
    recipe = Recipe(
        seq_len=SEQ_LEN,
        micro_batch_sequences=sequences,
        num_steps=num_steps,
        optimiser=hyperparameters.optimiser(shape, num_tokens=num_tokens),
        schedule=hyperparameters.schedule(num_steps),
        num_threads=1,
        eval_sequences=(manifest.heldout.num_tokens - 1) // SEQ_LEN,
        checkpoint_every_steps=num_steps,
        seed=0,
    )
    return Job(
        shape=shape,
        recipe=recipe,
        corpus=CorpusRef(
            path=str(folder), digest=manifest.digest, unique_tokens=manifest.unique_tokens, bytes_per_token=1
        ),
        gates=(Gate(step=num_steps, loss_p10=0.0, loss_p50=0.0, loss_p90=math.log(shape.vocab_size)),),
        caps=Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=10**12),
        rates=Rates(num_devices=1, usd_per_device_hour=0.0, device_watts=10),
        peak_flop_per_s=1e11,  # only MFU divides by it, which nothing here reads
        predicted_step_seconds=0.01,
    )


def _num_params(job: "Job") -> int:
    from planner.model import num_params

    return num_params(job.shape)


def _heldout_nats(folder: Path, manifest: Manifest, source: ZipfKeyValue) -> float:
    """What the source's own law says of the held-out text, in nats per token: the loss of a perfect model on it."""
    text = np.fromfile(folder / manifest.heldout.shards[0].file.name, dtype="<u2").astype(np.int64)
    records = text[: len(text) // 3 * 3].reshape(-1, 3)
    keys = records[:, 0] * source.num_key_tokens + records[:, 1]
    truth = np.random.default_rng(0).integers(0, source.num_values, source.num_key_tokens**2)[keys]
    is_right = records[:, 2] - source.num_key_tokens == truth
    value_nats = np.where(is_right, -np.log(1 - source.noise), -np.log(source.noise / (source.num_values - 1)))
    key_nats = -np.log(zipf(source.num_key_tokens**2, 1 + source.tail)[keys])
    return float((key_nats + value_nats).mean() / 3)


if __name__ == "__main__":
    for part in sys.argv[1:] or ["table", "ladder", "transformers", "leak"]:
        globals()[part]()

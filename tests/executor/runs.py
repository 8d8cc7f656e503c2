"""Small jobs and corpora for the executor's tests: a corpus made in milliseconds, a model that trains in them."""

import hashlib
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from data.corpus.loader import TokenBatches
from data.corpus.manifest import (
    BuildConfig,
    FileRef,
    KnowledgeCutoff,
    Manifest,
    Shard,
    Split,
    TokenizerRef,
    load_manifest,
)
from executor.run import execute
from executor.run_folder import RunFolder
from executor.value_files import write_value
from planner.cluster import Layout
from planner.model import ModelShape
from planner.recipe import Caps, CorpusRef, Gate, Job, Optimiser, Rates, Recipe, Schedule
from tui.cli import root

VOCAB = 16
SEQ_LEN = 8
SHAPE = ModelShape(num_layers=1, width=8, num_heads=2, num_kv_heads=1, head_dim=4, ffn_width=16, vocab_size=VOCAB)
NO_CAPS = Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=10**12)


def make_corpus(folder: Path) -> Manifest:
    """Write a corpus of a noisy repeating text: learnable, and different at every place."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    splits = {
        name: _split(folder, name, (np.arange(size) * 3 + generator.integers(0, 3, size)) % VOCAB)
        for name, size in (("train", 4000), ("heldout", 400))
    }
    manifest = Manifest(
        config=BuildConfig(vocab_size=VOCAB, max_tokens=0, seed=0, heldout_fraction=0.1),
        dtype="uint16",
        tokenizer=TokenizerRef(
            file=_file(folder, "tokenizer.json", b"{}"),
            token_bytes=_file(folder, "token_bytes.bin", np.full(VOCAB, 2, "<u2").tobytes()),
            vocab_size=VOCAB,
            end_id=0,
        ),
        train=splits["train"],
        heldout=splits["heldout"],
        documents=_file(folder, "documents.jsonl", b""),
        sources=(),
        removed=(),
        cutoff=KnowledgeCutoff(latest="", median="", undated_fraction=1),
    )
    manifest.write(folder)
    return manifest


def _split(folder: Path, name: str, tokens: np.ndarray) -> Split:
    import xxhash

    content = tokens.astype("<u2").tobytes()
    shard = Shard(
        file=_file(folder, f"{name}.bin", content),
        num_tokens=len(tokens),
        block_xxh3=(xxhash.xxh3_64_hexdigest(content),),
    )
    ends = _file(folder, f"{name}-ends.bin", np.array([len(tokens)], "<i8").tobytes())
    return Split(
        num_documents=1,
        num_tokens=len(tokens),
        num_bytes=2 * len(tokens),
        shards=(shard,),
        document_ends=ends,
        domains=(),
    )


def _file(folder: Path, name: str, content: bytes) -> FileRef:
    (folder / name).write_bytes(content)
    return FileRef(name=name, num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


ONE_DEVICE = Layout()


def make_job(
    corpus: Path,
    *,
    shape: ModelShape = SHAPE,
    layout: Layout = ONE_DEVICE,
    num_steps: int = 12,
    caps: Caps = NO_CAPS,
    gates: tuple[Gate, ...] = (),
    **changes,
) -> Job:
    """A job on `corpus`; `changes` go into its recipe."""
    manifest = Manifest.model_validate_json((corpus / "manifest.json").read_bytes())
    recipe = {
        "seq_len": SEQ_LEN,
        "micro_batch_sequences": 4,
        "accumulation_steps": 2,
        "num_data_parallel": layout.dp,
        "num_steps": num_steps,
        "optimiser": Optimiser(peak_lr=0.01),
        "schedule": Schedule(warmup_steps=2, decay_steps=4),
        "num_threads": 1,
        "eval_sequences": 20,
        "checkpoint_every_steps": 4,
        "seed": 3,
    }
    return Job(
        shape=shape,
        layout=layout,
        recipe=Recipe.model_validate({**recipe, **changes}),
        corpus=CorpusRef(path=str(corpus), digest=manifest.digest, unique_tokens=4000, bytes_per_token=2),
        gates=gates,
        caps=caps,
        rates=Rates(num_devices=layout.num_devices, usd_per_device_hour=3600.0, device_watts=10),
        peak_flop_per_s=1e11,
        predicted_step_seconds=0.001,
    )


def make_run(folder: Path, job: Job) -> RunFolder:
    """A run folder that says to train `job`."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    write_value(run.job, job)
    return run


def batches(corpus: Path, job: Job) -> TokenBatches:
    """The job's own loader."""
    manifest = Manifest.model_validate_json((corpus / "manifest.json").read_bytes())
    return TokenBatches(corpus, manifest, job.recipe.seed, job.recipe.seq_len)


def make_songs(folder: Path) -> Path:
    """Build a corpus of words, 300 ids, by the command a user types, and return its folder."""
    lines = [
        f"{number} bottles of beer on the wall, take {number % 7} down, pass them around\n" for number in range(900)
    ]
    (folder / "text").mkdir()
    for start in range(0, len(lines), 10):
        (folder / "text" / f"{start}.txt").write_text("".join(lines[start : start + 10]))
    words = f"corpus build {folder / 'text'} --out {folder / 'corpus'} --vocab-size 300 --heldout 0.2"
    result = CliRunner().invoke(root, words.split())
    assert result.exit_code == 0, result.output
    return folder / "corpus"


def songs_run(songs: Path, folder: Path) -> RunFolder:
    """A finished run of six steps on `songs`."""
    shape = ModelShape.model_validate({**SHAPE.model_dump(), "vocab_size": load_manifest(songs).vocab_size})
    run = make_run(folder, make_job(songs, shape=shape, seq_len=32, num_steps=6))
    assert execute(run.root, started=time.monotonic()) == 0
    return run

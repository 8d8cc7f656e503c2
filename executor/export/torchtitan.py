"""A run as a torchtitan 0.3 job, for one that outgrows this executor: configuration, weights and text.

torchtitan's configuration is Python. What is exported is one fixed module and the values it reads, so nothing of ours
is ever pasted into code. Weights go as a Hugging Face folder, which torchtitan reads itself. The optimizer's state
does not: it starts at zero, as does the diary. What torchtitan has no counterpart for is refused.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from data.canonical import Json, canonical_bytes
from data.corpus.manifest import load_manifest
from data.durable import write_atomic
from data.errors import UserError
from executor.checkpoint import load, newest
from executor.export.huggingface import export
from executor.model.initialise import build
from executor.model.norm import EPSILON
from executor.model.rotary import LLAMA3_HIGH, LLAMA3_LOW
from executor.run_folder import RunFolder, read_assignment
from planner.cluster import Layout
from planner.model import ModelShape
from planner.recipe import Job, Recipe

MODULE = "isoplan_job"
_CPU = torch.device("cpu")


def export_job(root: Path, out: Path, *, warn: Callable[[str], None]) -> str:
    """Write `out` and return where its weights come from: a checkpoint's name, or the initial weights.

    Raises:
        UserError: torchtitan has no counterpart, or the corpus has gone.
    """
    folder = RunFolder(root)
    job = read_assignment(folder).job
    check_counterpart(job)
    manifest = load_manifest(Path(job.corpus.path))
    path = newest(folder.checkpoints, warn=warn)
    if path is None:
        recipe = job.recipe
        weights = build(job.shape, seq_len=recipe.seq_len, seed=recipe.seed, device=_CPU).state_dict()
        num_steps, num_samples = 0, 0
    else:
        found = load(path, device=_CPU)
        weights, num_steps, num_samples = found.model, found.state.step, found.state.num_samples
    document = titan_job(job, num_steps=num_steps, num_samples=num_samples)
    export(weights, job.shape, out / "weights", seq_len=job.recipe.seq_len, end_id=manifest.tokenizer.end_id)
    shutil.copyfile(Path(job.corpus.path) / manifest.tokenizer.file.name, out / "weights" / "tokenizer.json")
    (out / MODULE).mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).parent / MODULE / "config_registry.py", out / MODULE / "config_registry.py")
    write_atomic(out / MODULE / "job.json", canonical_bytes(document) + b"\n")
    return path.name if path else "the initial weights"


def command(out: Path, layout: Layout) -> list[str]:
    """Return what starts the job on one host; the folder must be on PYTHONPATH."""
    start = ["env", f"PYTHONPATH={out}", "torchrun", f"--nproc-per-node={layout.num_devices}"]
    return [*start, "-m", "torchtitan.train", "--module", MODULE, "--config", "job"]


def titan_job(job: Job, *, num_steps: int = 0, num_samples: int = 0) -> dict[str, Json]:
    """Return job.json: what is left of `job` after `num_steps` steps and `num_samples` samples.

    Raises:
        UserError: nothing is left, or a cosine is cut.
    """
    recipe, optimiser = job.recipe, job.recipe.optimiser
    return {
        "schema": "isoplan.torchtitan/1",
        "model": _model(job.shape),
        "optimiser": {
            "peak_lr": optimiser.peak_lr,
            "beta1": optimiser.beta1,
            "beta2": optimiser.beta2,
            "epsilon": optimiser.epsilon,
            "weight_decay": optimiser.weight_decay,
            "table_weight_decay": optimiser.weight_decay if optimiser.decays_embedding else 0.0,
            "clip_norm": optimiser.clip_norm,
        },
        "steps": _steps(recipe, job.layout, num_steps),
        "layout": _layout(job.layout),
        "text": {
            "corpus": str(Path(job.corpus.path).resolve()),
            "digest": job.corpus.digest,
            "seed": recipe.seed,
            "first_sample": num_samples,
            "masks_documents": recipe.masks_documents,
        },
    }


def check_counterpart(job: Job) -> None:
    """Return if torchtitan can train `job` as it is.

    Raises:
        UserError: names what it cannot.
    """
    shape, recipe, layout = job.shape, job.recipe, job.layout
    lacks = {
        "training after pretraining": job.post is not None,
        "Muon as here": recipe.optimiser.kind != "adamw",
        "a batch that grows": bool(recipe.batch_warmup),
        "a z-loss": recipe.z_loss > 0,
        "width scaling (muP)": shape.mup_base_width is not None,
        "attention that is not full": shape.attention.kind != "full",
        f"{shape.rope.scaling} positions of this model": shape.rope.scaling not in _scalings(shape),
        "sharding inside each host, whose size the plan does not say": layout.sharding == "hsdp",
        "recomputation of every second part": layout.recompute not in ("none", "full"),
        "interleaved or zero-bubble pipeline": layout.num_model_chunks > 1 or layout.schedule != "1f1b",
        "offload to the host": layout.offload != "none",
    }
    for what, is_asked in lacks.items():
        if is_asked:
            raise UserError(
                f"the exported torchtitan job has no {what}",
                expected="full attention, AdamW, one batch size; layouts of dp, tp, cp and pp",
                next_step="isoplan run trains it; isoplan export --to huggingface exports its weights",
            )


def _scalings(shape: ModelShape) -> tuple[str, ...]:
    # torchtitan's Qwen 3 has another rotary form, whose `llama` scaling it does not implement.
    return ("none",) if shape.has_qk_norm else ("none", "llama3")


def _model(shape: ModelShape) -> dict[str, Json]:
    scaling: dict[str, Json] = {}
    if shape.rope.scaling == "llama3":
        scaling = {
            "scaling": "llama",
            "scaling_factor": shape.rope.factor,
            "low_freq_factor": LLAMA3_LOW,
            "high_freq_factor": LLAMA3_HIGH,
            "original_max_position_embeddings": shape.rope.original_seq_len,
        }
    return {
        "architecture": "qwen3" if shape.has_qk_norm else "llama3",
        "num_layers": shape.num_layers,
        "width": shape.width,
        "num_heads": shape.num_heads,
        "num_kv_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "ffn_width": shape.ffn_width,
        "vocab_size": shape.vocab_size,
        "is_head_tied": shape.is_head_tied,
        "norm_epsilon": EPSILON,
        "rope_base": shape.rope.base,
        "rope_scaling": scaling,
    }


def _steps(recipe: Recipe, layout: Layout, done: int) -> dict[str, Json]:
    schedule, left = recipe.schedule, recipe.num_steps - done
    is_cosine = schedule.kind == "cosine"
    if recipe.precision == "fp8":
        raise UserError("the job's config has no FP8", next_step="isoplan plan ... --precision bf16")
    if left <= 0:
        raise UserError("the run is done", next_step="isoplan export RUN exports its weights")
    if is_cosine and done:
        raise UserError("torchtitan cannot start in the middle of a cosine", expected="a run that has not begun")
    decay: Literal["cosine", "linear", "sqrt"] = "cosine" if is_cosine else schedule.decay
    return {
        "num_steps": left,
        "warmup_steps": max(0, schedule.warmup_steps - done),
        "decay": decay,
        "decay_fraction": None if is_cosine else min(1.0, schedule.decay_steps / left),
        "final_lr_fraction": schedule.final_lr_fraction,
        "seq_len": recipe.seq_len,
        # torchtitan cuts a rank's batch into a pipeline's micro-batches itself.
        "local_batch": recipe.micro_batch_sequences * (recipe.accumulation_steps if layout.pp > 1 else 1),
        "global_batch": recipe.sequences_per_step,
        "precision": "float32" if recipe.precision == "fp32" else "bfloat16",
        "checkpoint_every_steps": recipe.checkpoint_every_steps,
        "recomputes": layout.recompute == "full",
        "is_compiled": recipe.is_compiled,
    }


def _layout(layout: Layout) -> dict[str, Json]:
    is_split = layout.sharding != "none"
    keeps_weights = layout.sharding in ("zero1", "zero2")
    return {
        "data_parallel_replicate_degree": 1 if is_split else layout.dp,
        "data_parallel_shard_degree": layout.dp if is_split else 1,
        "fsdp_reshard_after_forward": "never" if keeps_weights else "default",
        "tensor_parallel_degree": layout.tp,
        "pipeline_parallel_degree": layout.pp,
        "pipeline_parallel_schedule": "1F1B",
        "pipeline_parallel_microbatch_size": layout.micro_batch if layout.pp > 1 else 1,
        "context_parallel_degree": layout.cp,
    }

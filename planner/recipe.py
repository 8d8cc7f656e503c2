"""How a model is trained: all the executor needs besides the shape and the text. The executor chooses nothing."""

import math
from typing import Literal

from pydantic import Field, model_validator

from data.units import Count, Fraction, Joules, Seconds, Tokens, Usd
from data.values import PathText, Value
from planner.cluster import Layout
from planner.health import Health
from planner.model import ModelShape, flop_per_token
from planner.post import PostTraining, flop_factor

Precision = Literal["fp32", "bf16", "fp8"]
"""Of matrix products. `fp8` is that of the layers' linear maps, everything else then being bf16."""


OptimiserKind = Literal["adamw", "muon"]


class Optimiser(Value):
    """AdamW, or Muon for the matrices of the layers and AdamW for the rest; decoupled decay, a gradient-norm clip.

    Matrices decay, gains of norms never do, the embedding and head where `decays_embedding`. Muon's updates are scaled
    to AdamW's size (arXiv:2502.16982), so that one `peak_lr` serves both kinds.
    """

    kind: OptimiserKind = "adamw"
    peak_lr: float = Field(gt=0)
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    decays_embedding: bool = True
    clip_norm: float = Field(default=1.0, gt=0)
    muon_momentum: Fraction = 0.95


class Schedule(Value):
    """Learning rate over steps: linear warm-up, then stable and a decay (`wsd`), or a cosine.

    A `wsd` that decays `linear`ly is the trapezoid; `sqrt` falls as one less the square root of what is done, fast at
    first (Hägele et al., arXiv:2405.18392, section 3).
    """

    kind: Literal["wsd", "cosine"] = "wsd"
    warmup_steps: int = Field(ge=0)
    decay_steps: int = Field(ge=0)
    decay: Literal["linear", "sqrt"] = "linear"
    final_lr_fraction: Fraction = 0.0

    def decayed(self, done: float) -> float:
        """What is left of the way from peak to final rate when the fraction `done` of the decay is behind."""
        return 1.0 - (math.sqrt(done) if self.decay == "sqrt" else done)


class BatchStage(Value):
    """`num_steps` steps of `sequences` sequences each, over all devices."""

    num_steps: Count
    sequences: Count


class Recipe(Value):
    """One training run, decided. A step is `sequences_per_step` sequences of `seq_len` tokens.

    `batch_warmup` makes the first steps smaller. `masks_documents` keeps attention inside a document. `z_loss` weighs
    the square of the log of the softmax's denominator, added to what is minimised and not to the loss that is told
    (PaLM, arXiv:2204.02311, section 5: 1e-4). `balance_rate` moves each expert's selection bias after a step
    (DeepSeek-V3, arXiv:2412.19437, section 4.2: 1e-3).
    """

    seq_len: Count
    micro_batch_sequences: Count
    accumulation_steps: Count = 1
    num_data_parallel: Count = 1
    num_steps: Count
    batch_warmup: tuple[BatchStage, ...] = ()
    optimiser: Optimiser
    schedule: Schedule
    z_loss: float = Field(default=0.0, ge=0)
    masks_documents: bool = False
    balance_rate: float = Field(default=1e-3, ge=0)
    precision: Precision = "fp32"
    is_compiled: bool = False
    num_threads: int = Field(default=0, ge=0, description="CPU threads of the process; 0 on an accelerator")
    eval_sequences: Count = Field(description="held-out sequences scored at each gate")
    checkpoint_every_steps: Count
    health: Health = Field(default_factory=Health)
    probe_items: int = Field(default=0, ge=0, description="questions asked at each gate; 0 asks none")
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if self.schedule.warmup_steps + self.schedule.decay_steps > self.num_steps:
            raise ValueError("warm-up and decay are longer than the run")
        if sum(stage.num_steps for stage in self.batch_warmup) > self.num_steps:
            raise ValueError("the batch's warm-up is longer than the run")
        for stage in self.batch_warmup:
            if stage.sequences > self.sequences_per_step or stage.sequences % self.num_data_parallel:
                raise ValueError(
                    f"a warm-up batch of {stage.sequences} sequences: more than the batch, or not divisible"
                )
        return self

    @property
    def sequences_per_step(self) -> int:
        """Sequences in one optimizer step after the batch's warm-up, over all devices."""
        return self.micro_batch_sequences * self.accumulation_steps * self.num_data_parallel

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step after the batch's warm-up, over all devices."""
        return self.sequences_per_step * self.seq_len

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.tokens_after(self.num_steps)

    def sequences_at(self, step: int) -> int:
        """Sequences of `step`, counted from 0, over all devices."""
        for stage in self.batch_warmup:
            if step < stage.num_steps:
                return stage.sequences
            step -= stage.num_steps
        return self.sequences_per_step

    def samples_after(self, num_steps: int) -> int:
        """Sequences that the first `num_steps` steps take, over all devices."""
        samples = num_steps * self.sequences_per_step
        for stage in self.batch_warmup:
            taken = min(num_steps, stage.num_steps)
            samples -= taken * (self.sequences_per_step - stage.sequences)
            num_steps -= taken
        return samples

    def tokens_after(self, num_steps: int) -> int:
        """Tokens that the first `num_steps` steps take, over all devices."""
        return self.samples_after(num_steps) * self.seq_len


class CorpusRef(Value):
    """The text a run reads: where it was, and the digest of the manifest it must still have."""

    path: PathText
    digest: str
    unique_tokens: Tokens
    bytes_per_token: float = Field(gt=0)


class Gate(Value):
    """A planned evaluation: after `step` steps the held-out loss is compared with the predicted band.

    `stop_above_loss` ends the run with exit 6 when the loss is higher; None only records.
    """

    step: Count
    loss_p10: float
    loss_p50: float
    loss_p90: float
    stop_above_loss: float | None = None


class Caps(Value):
    """What the run may not exceed over all its attempts."""

    cost_usd: Usd
    wall_seconds: Seconds
    num_tokens: Tokens
    energy_joules: Joules | None = Field(default=None, description="at the wall; None: as much as the rest allows")


class Rates(Value):
    """What a second of the run costs, so that the executor's dollars and the plan's come from one formula."""

    num_devices: Count
    usd_per_device_hour: Usd
    device_watts: float = Field(ge=0, description="average draw of one device with its share of the server")
    usd_per_kwh: Usd = 0.0
    pue: float = Field(default=1.0, ge=1)
    is_energy_billed: bool = Field(default=False, description="false where the hourly price includes electricity")


class Job(Value):
    """What the executor trains: a pilot run and a planned main run are both one of these."""

    shape: ModelShape
    recipe: Recipe
    corpus: CorpusRef
    gates: tuple[Gate, ...]
    caps: Caps
    rates: Rates
    layout: Layout = Field(default_factory=Layout, description="how a step is spread over devices")
    peak_flop_per_s: float = Field(gt=0, description="dense peak of one device at this precision; the divisor of MFU")
    predicted_step_seconds: float = Field(gt=0)
    post: PostTraining | None = Field(default=None, description="what follows pretraining; None: pretraining itself")

    @model_validator(mode="after")
    def _consistent(self) -> "Job":
        if self.layout.dp != self.recipe.num_data_parallel:
            raise ValueError(
                f"the layout has {self.layout.dp} data-parallel ranks, not {self.recipe.num_data_parallel}"
            )
        return self


def job_flop_per_token(job: Job) -> float:
    """Training FLOP per token of the recipe: exact for pretraining, `post.flop_factor` of that after it."""
    return flop_per_token(job.shape, seq_len=job.recipe.seq_len) * flop_factor(job.post)


def total_flop(job: Job) -> float:
    """Training FLOP of the job, evaluation excluded."""
    return job_flop_per_token(job) * job.recipe.num_tokens


def mfu(flop: float, *, seconds: float, rates: Rates, peak_flop_per_s: float) -> float:
    """Model FLOP utilisation: model FLOP done over what all devices could do at their dense peak in that time.

    Our FLOP are causal with the head counted (docs/conventions.md); PaLM's full-attention MFU is higher.
    """
    return flop / (seconds * rates.num_devices * peak_flop_per_s)


def run_energy_joules(seconds: float, rates: Rates) -> float:
    """Energy of the whole job at the wall, data-centre overhead included."""
    return seconds * rates.num_devices * rates.device_watts * rates.pue


def run_cost_usd(seconds: float, rates: Rates) -> float:
    """Dollars that `seconds` of the whole job cost: rent, and electricity where it is billed apart."""
    rent = seconds / 3600 * rates.num_devices * rates.usd_per_device_hour
    energy = run_energy_joules(seconds, rates) / 3.6e6 * rates.usd_per_kwh if rates.is_energy_billed else 0.0
    return rent + energy


def seconds_for_cost(cost_usd: float, rates: Rates) -> float:
    """The inverse of `run_cost_usd`: how long the job may run for that money."""
    per_second = run_cost_usd(1.0, rates)
    return cost_usd / per_second if per_second else float("inf")


def capped_seconds(caps: Caps, rates: Rates) -> float:
    """How long the job may run under its caps on time, dollars and energy, all attempts together."""
    per_second = run_energy_joules(1.0, rates)
    by_energy = caps.energy_joules / per_second if caps.energy_joules is not None and per_second else float("inf")
    return min(caps.wall_seconds, seconds_for_cost(caps.cost_usd, rates), by_energy)

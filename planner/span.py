"""Which sizes are looked at: a thousandfold span, which must hold what the limits allow.

So it follows money and time, and text and memory where those allow less.
"""

import math
from collections.abc import Sequence

from planner.belief import LawModel
from planner.facts import Facts
from planner.model import ModelShape, num_params
from planner.recipe import seconds_for_cost
from planner.request import Request
from planner.risk import START_LOG_SD, Z90
from planner.rough import TOKENS_PER_PARAM
from planner.shapes import MAX_PARAMS, MIN_PARAMS, candidate_shapes, standard_shape

REACH = 32.0
"""Models from 1/32 to 32 times the size that the budget would train on 20 tokens per parameter."""

EXPERT_COUNTS = (1, 2, 4, 8, 16, 32)
"""Dense, and the experts of the joint law's models (Ludziejewski et al. 2025, arXiv 2502.05172, table 1)."""

MFU = 0.35
"""The median utilisation of published runs (Epoch AI: 0.375)."""

BYTES_PER_PARAM = 3.0
"""Fewer than any layout holds of a model, split over all devices and offloaded."""

MAX_REPEATS = 8.0
"""At most the size that would want so many times the text there is, repeated."""

ROUNDING = 4.0
"""The budget of FLOP is a power of this, twice too much or too little at most."""

SHORTEST_TRAINING_SECONDS = 1.0
"""What is trained for when start-up alone fills the limits."""


def span(request: Request, facts: Facts) -> Sequence[ModelShape]:
    """The sizes worth looking at for a request, smallest first."""
    flop = min(_limited_flop(request, facts), _flop_for_text(request, facts))
    # Rounded, so that a little more money starts from the same sizes and finds most layouts already searched.
    flop = ROUNDING ** round(math.log(flop, ROUNDING))
    held = facts.cluster.num_devices * facts.hardware.memory_bytes / BYTES_PER_PARAM
    return _shapes(request, facts, centre=min(held, math.sqrt(flop / (6.0 * _tokens_per_param(request)))))


def _tokens_per_param(request: Request) -> float:
    return max(TOKENS_PER_PARAM, request.min_tokens_per_param)


def _shapes(request: Request, facts: Facts, *, centre: float) -> Sequence[ModelShape]:
    if facts.model is not None:
        return (facts.model,)
    if request.num_params is not None:
        return (standard_shape(request.num_params, vocab_size=facts.vocab_size, seq_len=facts.seq_len),)
    least = min(max(centre / REACH, MIN_PARAMS), MAX_PARAMS / REACH)
    return candidate_shapes(
        least,
        min(max(centre, least) * REACH, MAX_PARAMS),
        vocab_size=facts.vocab_size,
        seq_len=facts.seq_len,
    )


def _limited_flop(request: Request, facts: Facts) -> float:
    seconds = limited_seconds(request, facts)
    if math.isfinite(seconds):
        return seconds * facts.cluster.num_devices * facts.hardware.peak_flop_per_s * MFU
    return unlimited_flop(request, facts)


def limited_seconds(request: Request, facts: Facts) -> float:
    """What money and time leave for training; infinite where neither is limited."""
    budget, deadline = request.run_budget_usd, request.deadline_seconds
    seconds = min(
        seconds_for_cost(budget, facts.rates) if budget is not None else math.inf,
        deadline if deadline is not None else math.inf,
    )
    # Start-up first, a late one: what is left of a small limit after it is what a model can be trained in.
    late_start_seconds = facts.overheads.startup_seconds * math.exp(Z90 * START_LOG_SD)
    return max(seconds - late_start_seconds, SHORTEST_TRAINING_SECONDS)


def unlimited_flop(request: Request, facts: Facts) -> float:
    """FLOP, roughly, of what is asked for where neither money nor time is."""
    if request.num_tokens is not None:
        known = num_params(facts.model) if facts.model is not None else request.num_params
        return 6.0 * (known or request.num_tokens / TOKENS_PER_PARAM) * request.num_tokens
    return _flop_for_loss(request.target_loss or 3.0, facts)


def _flop_for_text(request: Request, facts: Facts) -> float:
    """FLOP of the size that would want much more than the text: with more money than text, sizes follow the text."""
    if facts.data.unique_tokens is None:
        return math.inf
    wanted = MAX_REPEATS * request.max_epochs * facts.data.unique_tokens
    return 6.0 * wanted * wanted / _tokens_per_param(request)


def _flop_for_loss(loss: float, facts: Facts) -> float:
    """6ND of the smallest 20-tokens-a-parameter run predicted to reach `loss`, within 1e9 to 1e30."""
    low, high = 9.0, 30.0
    while high - low > 0.05:
        middle = (low + high) / 2
        params = math.sqrt(10.0**middle / (6.0 * TOKENS_PER_PARAM))
        reached = facts.law.median(LawModel(params), TOKENS_PER_PARAM * params) <= loss
        low, high = (low, middle) if reached else (middle, high)
    return 10.0**high

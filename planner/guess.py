"""Where the search for a model starts: what the limits would leave each size, were it as fast as it roughly is.

A rough loss is within a per cent of the searched one mostly, so the search looks around the size that ends lowest.
"""

import math
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from planner import hyperparameters
from planner.candidates import MIN_STEPS, Start
from planner.facts import Facts
from planner.model import ModelShape, num_active_params
from planner.request import Request
from planner.rough import Rate, rough_rates
from planner.search import Setting
from planner.span import limited_seconds, unlimited_flop

ROUGH_SHARE = 0.85
"""Of the rough speed, what is left: evaluations, checkpoints, limits kept at the P90, and what a full search gains."""


class Guess(NamedTuple):
    """A model with the tokens and the batch it would have, and its loss then."""

    start: Start
    loss: float


def guesses(shapes: Sequence[ModelShape], request: Request, facts: Facts) -> list[Guess]:
    """A guess of each model, at the batch that ends lowest."""
    options = _options(shapes, request, facts)
    starts = [start for some in options for start in some]
    losses = facts.law.medians(
        [facts.law.model(start.shape) for start in starts], [start.guess_tokens for start in starts]
    )
    found = iter([Guess(start, loss) for start, loss in zip(starts, losses, strict=True)])
    return [_lowest(list(islice(found, len(some))), facts) for some in options]


def likeliest(guessed: Sequence[Guess], request: Request, facts: Facts) -> int | None:
    """The place of what ends lowest, or the smallest where nothing is worth planning; None where cost decides."""
    if request.target_loss is not None or request.num_tokens is not None:
        return None
    sizes = [num_active_params(one.start.shape) for one in guessed]
    fewest, per_param = _fewest_tokens(facts), request.min_tokens_per_param
    enough = [one.start.guess_tokens > max(fewest, per_param * size) for one, size in zip(guessed, sizes, strict=True)]
    return min(range(len(guessed)), key=lambda at: (not enough[at], guessed[at].loss if enough[at] else sizes[at]))


def _options(shapes: Sequence[ModelShape], request: Request, facts: Facts) -> list[list[Start]]:
    """Each model at the batches worth a thought."""
    if request.num_tokens is not None:
        return [[Start(shape, float(request.num_tokens))] for shape in shapes]
    text = math.inf if facts.data.unique_tokens is None else request.max_epochs * facts.data.unique_tokens
    seconds = limited_seconds(request, facts)
    if not math.isfinite(seconds):
        flop = unlimited_flop(request, facts)
        return [[Start(shape, min(text, flop / (6.0 * num_active_params(shape))))] for shape in shapes]
    setting, fewest = Setting(facts.cluster, facts.profile, facts.seq_len, facts.precision), _fewest_tokens(facts)

    def starts(shape: ModelShape, rates: Sequence[Rate]) -> list[Start]:
        read = [min(text, max(ROUGH_SHARE * seconds * one.tokens_per_s, fewest)) for one in rates]
        at_laws = [Start(shape, num_tokens) for num_tokens in read]
        if len(rates) == 1:
            return at_laws
        return [_at(start, rate, facts) for start, rate in zip(at_laws, rates, strict=True)]

    return [starts(shape, rates) for shape, rates in zip(shapes, rough_rates(shapes, setting), strict=True)]


def _at(start: Start, rate: Rate, facts: Facts) -> Start:
    """The start at the batch of the rate, as far as that is larger than the law's."""
    octaves = math.log2(rate.sequences_per_step / start.batch(facts).sequences_per_step)
    return start._replace(times_batch=2 ** max(0, round(octaves)))


def _lowest(options: Sequence[Guess], facts: Facts) -> Guess:
    """The lowest of one model's batches, those off the law's counted; a single one is the law's."""
    if len(options) == 1:
        return options[0]
    return min(
        (one._replace(loss=one.loss * _batch_factor(one.start, facts)) for one in options), key=lambda one: one.loss
    )


def _batch_factor(start: Start, facts: Facts) -> float:
    tokens_per_step = start.batch(facts).sequences_per_step * facts.seq_len
    return hyperparameters.batch_factor(tokens_per_step=tokens_per_step, num_tokens=start.guess_tokens)


def _fewest_tokens(facts: Facts) -> float:
    """Of the shortest run worth planning at the smallest batch; what does not fit is given these."""
    return float(MIN_STEPS * facts.cluster.num_devices * facts.seq_len)

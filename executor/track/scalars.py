"""The events of a run as what trackers know: named numbers over steps."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from executor.events import AnyEvent, Gated, Intervened, Stepped


class Scalars(NamedTuple):
    """Numbers by name at one step; `seconds` is the run's time until then, all attempts together."""

    step: int
    seconds: float
    values: dict[str, float]


def scalars(events: Iterable[AnyEvent]) -> Iterator[Scalars]:
    """Yield the numbers of each step, gate and intervention, in the order they happened."""
    for event in events:
        seconds = event.spent.time.wall_seconds
        match event:
            case Stepped():
                yield Scalars(event.step, seconds, _step_values(event))
            case Gated():
                yield Scalars(event.result.step, seconds, _gate_values(event))
            case Intervened():
                yield Scalars(event.what.step, seconds, {f"health/{event.what.action}": 1.0})
            case _:
                pass


def _step_values(event: Stepped) -> dict[str, float]:
    values = {
        "train/loss": event.loss,
        "train/loss_ema": event.loss_ema,
        "train/lr": event.lr,
        "train/grad_norm": event.grad_norm,
        "train/num_tokens": float(event.num_tokens),
        "speed/step_seconds": event.step_seconds,
        "speed/tokens_per_second": event.tokens_per_second,
        "speed/mfu": event.mfu,
        "cost/usd": event.spent.cost_usd,
    }
    return values if event.planned_loss is None else values | {"plan/loss_p50": event.planned_loss}


def _gate_values(event: Gated) -> dict[str, float]:
    gate = event.result.gate
    return {
        "heldout/loss": event.result.loss,
        "heldout/bits_per_byte": event.result.bits_per_byte,
        "plan/heldout_p10": gate.loss_p10,
        "plan/heldout_p50": gate.loss_p50,
        "plan/heldout_p90": gate.loss_p90,
        **{f"probe/{score.name}": score.accuracy for score in event.result.probes},
    }

"""Watches the loss and the gradient's norm of each step, and says when one is wrong. What follows is in the plan."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from planner.health import Action, Health


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a step, in words, and what the plan says to do."""

    action: Action
    reason: str


class Watch:
    """The last steps' losses and norms. They are part of a run's state, so that a resumed run judges alike."""

    def __init__(self, rules: Health) -> None:
        self._rules = rules
        self.losses: deque[float] = deque(maxlen=rules.spike_window)
        self.norms: deque[float] = deque(maxlen=rules.spike_window)

    def restore(self, losses: Sequence[float], norms: Sequence[float]) -> None:
        """Remember these and nothing else."""
        for kept, restored in ((self.losses, losses), (self.norms, norms)):
            kept.clear()
            kept.extend(restored)

    def judge(self, loss: float, grad_norm: float) -> Finding | None:
        """Return what is wrong with a step, or None, and remember it."""
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return Finding(self._rules.on_nonfinite, f"loss {loss:.4g}, gradient norm {grad_norm:.4g}")
        spikes = [self._spike("loss", loss, self.losses), self._spike("gradient norm", grad_norm, self.norms)]
        reasons = [reason for reason in spikes if reason]
        return Finding(self._rules.on_spike, ", ".join(reasons)) if reasons else None

    def _spike(self, name: str, value: float, recent: deque[float]) -> str:
        """Say so if `value` is a spike. It is remembered no higher than the limit, or one would hide the next."""
        limit = math.inf
        if len(recent) == self._rules.spike_window:
            limit = fmean(recent) + self._rules.spike_sigmas * stdev(recent)
        recent.append(min(value, limit))
        return f"{name} {value:.4g} is above {limit:.4g}" if value > limit else ""

"""What ranks say to each other besides tensors of the model: one decision to stop, one checkpoint, one verdict on it.

Flags kept by each rank for itself deadlock a run: ranks that stop at different steps wait for each other until someone
kills them (33 s under torchrun, no checkpoint). So every decision is one reduction that all ranks take part in.
"""

from collections.abc import Callable
from typing import Protocol, get_args

from executor.guard import Stop
from planner.record import RunState

# A number for each way to stop; the highest wins where ranks stop for different reasons in the same step.
_STATES: tuple[RunState, ...] = get_args(RunState)


class Ranks(Protocol):
    """All processes of this run, this one among them."""

    @property
    def is_leader(self) -> bool:
        """Whether this rank decides and writes for all."""
        ...

    def agree(self, stop: Stop | None) -> Stop | None:
        """Return the stop that any rank wants, the same on all; None where none does."""
        ...

    def from_leader(self, number: int) -> int:
        """Return the leader's `number`."""
        ...

    def first_problem(self, problem: str) -> str:
        """Return "" if no rank has a problem; else this rank's own, or that another has one."""
        ...


class Alone:
    """The ranks of a run on one process."""

    is_leader = True

    def agree(self, stop: Stop | None) -> Stop | None:
        """Return `stop`."""
        return stop

    def from_leader(self, number: int) -> int:
        """Return `number`."""
        return number

    def first_problem(self, problem: str) -> str:
        """Return `problem`."""
        return problem


class Team:
    """The ranks of a run on several. `reduce_max` is a maximum over all of them, `copy_of_leader` a broadcast."""

    def __init__(
        self, *, is_leader: bool, reduce_max: Callable[[int], int], copy_of_leader: Callable[[int], int]
    ) -> None:
        self.is_leader = is_leader
        self._max, self._copy = reduce_max, copy_of_leader

    def agree(self, stop: Stop | None) -> Stop | None:
        """Take part in the decision. The reason is known where it arose; others learn the kind."""
        own = _STATES.index(stop.state) if stop else -1
        decided = self._max(own)
        if decided < 0:
            return None
        return stop if stop and decided == own else Stop(_STATES[decided], "it was asked of another rank")

    def from_leader(self, number: int) -> int:
        """Receive the leader's number."""
        return self._copy(number)

    def first_problem(self, problem: str) -> str:
        """Compare verdicts."""
        if not self._max(bool(problem)):
            return ""
        return problem or "another rank could not; its log says why"

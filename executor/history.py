"""What earlier attempts of a run did and spent, read back from its events. The events are the truth; this only sums."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import UserError
from executor.events import AnyEvent, Ended, Gated, Intervened, Started, Stepped, read_events
from executor.journal import HEARTBEAT_SECONDS, Heartbeat
from executor.meter import read_meter
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.record import GateResult, Intervention, TimeSpent

NO_TIME = TimeSpent(startup_seconds=0, train_seconds=0, eval_seconds=0, checkpoint_seconds=0)


@dataclass(frozen=True, slots=True)
class History:
    """All attempts so far. `step_numbers` (from 1) and `step_seconds` are of every step taken, those lost to a kill and
    taken again included."""

    num_attempts: int
    time: TimeSpent
    step_numbers: Sequence[int]
    step_seconds: Sequence[float]
    last_train_loss: float | None
    gates: tuple[GateResult, ...]
    interventions: tuple[Intervention, ...]

    def gates_until(self, step: int) -> tuple[GateResult, ...]:
        """Return the gates of the run up to `step`, each once, the latest evaluation of each."""
        latest = {result.step: result for result in self.gates if result.step <= step}
        return tuple(latest[at] for at in sorted(latest))


def read_history(folder: RunFolder) -> History:
    """Return what happened so far.

    A run that was killed spent more than its last event says: its meter knows how much.
    """
    num_attempts, step_numbers, step_seconds, gates = 0, array("q"), array("d"), list[GateResult]()
    interventions = list[Intervention]()
    last_train_loss, last = None, None
    for last in read_events(folder.events):
        if isinstance(last, Stepped):
            step_numbers.append(last.step)
            step_seconds.append(last.step_seconds)
            last_train_loss = last.loss_ema
        elif isinstance(last, Gated):
            gates.append(last.result)
        elif isinstance(last, Intervened):
            interventions.append(last.what)
        elif isinstance(last, Started):
            num_attempts += 1
    return History(
        num_attempts=num_attempts,
        time=_time_spent(folder, last),
        step_numbers=step_numbers,
        step_seconds=step_seconds,
        last_train_loss=last_train_loss,
        gates=tuple(gates),
        interventions=tuple(interventions),
    )


def _time_spent(folder: RunFolder, last: AnyEvent | None) -> TimeSpent:
    if last is None:
        return NO_TIME
    spent = last.spent.time
    if isinstance(last, Ended):
        return spent
    unseen = max(0.0, _killed_at_seconds(folder) - spent.wall_seconds)
    return TimeSpent.model_validate({**spent.model_dump(), "train_seconds": spent.train_seconds + unseen})


def _killed_at_seconds(folder: RunFolder) -> float:
    """Return how far a killed attempt came: to the second by its meter, else by its last heartbeat and one more."""
    meter = read_meter(folder)
    if meter is not None and meter.is_final:
        return meter.wall_seconds
    beat = _last_beat(folder) + HEARTBEAT_SECONDS
    return beat if meter is None else max(beat, meter.at_most_seconds)


def _last_beat(folder: RunFolder) -> float:
    try:
        return read_value(folder.heartbeat, Heartbeat).wall_seconds
    except UserError:
        # Killed before its first beat, or the file was torn by a power cut: what the events say is all there is.
        return 0.0

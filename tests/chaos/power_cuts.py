"""Power cuts in a model: what each way to save leaves behind, over every legal state after every call of a save."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos.disk import Disk, lay_out
from tests.chaos.interpose import Call, interposed
from tests.chaos.protocols import Protocol, TornError

Verdict = Literal["whole", "lost", "unreadable", "torn"]
"""`lost`: an acknowledged state is gone, an older one is used. `torn`: a mixture was loaded without a word."""


_FLUSHED_STEPS = 3  # saved long ago: more than are kept, so that the saves that are cut also remove old ones
_CUT_STEPS = 2  # so that what the first left unflushed is there in the second


@dataclass(frozen=True, slots=True)
class PowerCuts:
    """How many states each verdict got, and the first bad one."""

    verdicts: Counter[Verdict]
    first_bad: str

    @property
    def num_states(self) -> int:
        """States looked at."""
        return self.verdicts.total()

    @property
    def num_bad(self) -> int:
        """States in which something acknowledged was lost, or nothing could be loaded, or damage was."""
        return self.num_states - self.verdicts["whole"]


def cut_power(
    protocol: Protocol, *, seed: int, fraction: float = 1.0, skips: Callable[[Call], bool] = lambda call: False
) -> PowerCuts:
    """Save some steps with `protocol`, cut the power after each call of the last two saves, judge each state left.

    A `fraction` of the states, drawn at random, is judged. Calls that `skips` are never made:
    what a protocol without them would leave.
    """
    verdicts: Counter[Verdict] = Counter()
    first_bad = ""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        folder = Path(name).resolve() / "checkpoints"
        folder.mkdir()
        for where, acknowledged, state in _crashes(protocol, folder, random.Random(seed), skips):
            if chance.random() >= fraction:
                continue
            verdict = judge(protocol, state, Path(name) / "after", acknowledged=acknowledged)
            verdicts[verdict] += 1
            if verdict != "whole" and not first_bad:
                first_bad = f"{verdict} {where}"
    return PowerCuts(verdicts, first_bad)


def judge(protocol: Protocol, state: dict[str, bytes | None], folder: Path, *, acknowledged: int) -> Verdict:
    """Lay a state out in `folder` and resume from it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lay_out(state, folder)
    return resumed(protocol, folder, acknowledged=acknowledged)


def resumed(protocol: Protocol, folder: Path, *, acknowledged: int) -> Verdict:
    """Resume from what stands in `folder`."""
    try:
        found = protocol.newest(folder)
    except TornError:
        return "torn"
    except Exception:  # noqa: BLE001 - whatever a loader raises, the run is stuck
        return "unreadable"
    return "whole" if (found or 0) >= acknowledged else "lost"


def _crashes(
    protocol: Protocol, folder: Path, chance: random.Random, skips: Callable[[Call], bool]
) -> Iterator[tuple[str, int, dict[str, bytes | None]]]:
    """Yield where the power went, the step acknowledged by then, and each state it may have left."""
    for step in range(1, _FLUSHED_STEPS + 1):
        protocol.save(folder, step)
    disk = Disk(str(folder))
    disk.adopt(folder)
    for step in range(_FLUSHED_STEPS + 1, _FLUSHED_STEPS + 1 + _CUT_STEPS):
        calls: list[Call] = []
        with interposed(folder, calls.append):
            protocol.save(folder, step)
        for number, call in enumerate(calls, start=1):
            if not skips(call):
                disk.apply(call)
            where = f"in save {step} after call {number} of {len(calls)}, {call.kind} {Path(call.path).name}"
            for state in disk.states(chance):
                yield where, step - 1, state
        for state in disk.states(chance):
            yield f"after save {step} returned", step, state


def _memory() -> str | None:
    """A file system in memory where there is one: thousands of states are written and read."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None

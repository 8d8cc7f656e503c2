"""Checks of saving: kills in training, kills at every call, power cuts in a model; the usual ways beside ours."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos.kills import kill_at_every_call, kill_training
from tests.chaos.line import Line, Size
from tests.chaos.power_cuts import cut_power
from tests.chaos.protocols import ISOPLAN, SEALED, USUAL


def training_kills(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """SIGKILL at random moments of training, the model's own process each time."""
    yield _kills("SIGKILL in training", size.pick(120, 1000), size, say, num_ranks=1)


def rank_kills(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """The same with two ranks, of which one dies first, or both."""
    yield _kills("SIGKILL in training on two ranks, FSDP2", size.pick(10, 200), size, say, num_ranks=2)


def _kills(name: str, num: int, size: Size, say: Callable[[str], None], *, num_ranks: int) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        found = kill_training(Path(folder), num_kills=num, seed=size.seed, say=say, num_ranks=num_ranks)
    note = f"{found.num_in_saves} in saves; {found.num_finished} runs finished, bit for bit"
    bad = found.num_lost + found.num_stuck + found.num_unequal
    return Line(name, found.num_kills, bad, "; ".join([note, *found.troubles[:3]]))


def call_kills(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """SIGKILL before each file operation of a save."""
    for protocol in (SEALED, ISOPLAN, *USUAL):
        verdicts = kill_at_every_call(protocol)
        bad = verdicts.total() - verdicts["whole"]
        yield Line(
            f"SIGKILL at every call: {protocol.name}",
            verdicts.total(),
            bad,
            _words(verdicts),
            is_reference=protocol in USUAL,
        )


def power_cuts(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Every legal state after a power cut, in a model of a disk."""
    for protocol in (SEALED, ISOPLAN, *USUAL):
        cuts = cut_power(protocol, seed=size.seed)
        yield Line(
            f"power cut: {protocol.name}",
            cuts.num_states,
            cuts.num_bad,
            _words(cuts.verdicts),
            is_reference=protocol in USUAL,
        )


def _words(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()) if verdict != "whole")

"""Eight processes start one approved plan at the same moment: one of them does."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import NotApprovedError
from executor.authorise import Authorised, claim_start
from planner.ledger import read_ledger
from tests.chaos.consent import Stage
from tests.chaos.line import Line, Size

_NUM_STARTERS = 8
_WON, _REFUSED = 0, 4


def start_races(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Race, approve again, race again; the ledger must hold exactly one start of each approval."""
    num, bad = size.pick(20, 200), 0
    with tempfile.TemporaryDirectory() as name:
        stage = Stage(Path(name))
        for _ in range(num):
            approval = stage.approve(stage.plan)
            codes = _race(stage, stage.authorise())
            starts = [
                entry
                for entry in read_ledger(stage.workspace.ledger)
                if entry.kind == "start" and entry.nonce == approval.statement.nonce
            ]
            is_good = sorted(codes) == [_WON] + [_REFUSED] * (_NUM_STARTERS - 1) and len(starts) == 1
            bad += not is_good
    yield Line(f"races of {_NUM_STARTERS} starts, one winner", num, bad)


def _race(stage: Stage, ready: Authorised) -> list[int]:
    """Let all go at once by closing a pipe they wait on."""
    gate, opener = os.pipe()
    children = [os.fork() or _start(stage, ready, gate, opener) for _ in range(_NUM_STARTERS)]
    os.close(gate)
    os.close(opener)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def _start(stage: Stage, ready: Authorised, gate: int, opener: int) -> int:
    os.close(opener)
    os.read(gate, 1)
    code = 1
    try:
        claim_start(ready, stage.workspace, now=stage.now)
        code = _WON
    except NotApprovedError:
        code = _REFUSED
    finally:
        os._exit(code)

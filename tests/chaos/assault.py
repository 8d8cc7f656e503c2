"""Every attack on consent, each tried on a working folder of its own."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import UserError
from tests.chaos.consent import Stage
from tests.chaos.forgeries import ALL
from tests.chaos.line import Line, Size


def run_attacks(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Try every attack, each on a stage of its own."""
    bad, troubles = 0, list[str]()
    for name in ALL:
        trouble = try_attack(name)
        if trouble:
            bad += 1
            troubles.append(f"{name}: {trouble}")
    yield Line("attacks on approval", len(ALL), bad, "; ".join(troubles[:3]))


def try_attack(name: str) -> str:
    """Return what is wrong with the answer to one attack, or nothing."""
    code, attack = ALL[name]
    home = os.environ.get("ISOPLAN_HOME")
    try:
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(Path(folder), author="ana")
            try:
                attack(stage)
            except UserError as error:
                return "" if error.exit_code == code else f"exit {error.exit_code}, not {code}: {error}"
            return "" if code == 0 else "it was let through"
    finally:
        if home is None:
            os.environ.pop("ISOPLAN_HOME", None)
        else:
            os.environ["ISOPLAN_HOME"] = home

"""`make chaos`: try to break saving, consent, limits and readers on this machine, and print what held.

    python -m tests.chaos [--full] [--seed N] [--only PART]...

The seed decides every draw. Exit 0 where everything of ours held, 1 where something did not.
"""

import argparse
import sys
import time

from tests.chaos import assault, damage, full_disks, fuzz, limits, memory, races, real_disks, saves
from tests.chaos.line import Check, Line, Size

CHECKS: dict[str, Check] = {
    "training": saves.training_kills,
    "ranks": saves.rank_kills,
    "random": real_disks.random_kills,
    "calls": saves.call_kills,
    "power": saves.power_cuts,
    "ext4": real_disks.real_power_cuts,
    "damage": damage.damaged_files,
    "memory": memory.memory_flips,
    "attacks": assault.run_attacks,
    "races": races.start_races,
    "disk": full_disks.full_disks,
    "limits": limits.limits,
    "hostile": fuzz.hostile_files,
}


def main() -> int:
    """Run the checks and print the table as it grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the counts that releases are held to; an hour or more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CHECKS, action="append", help="a part; may be given several times")
    options = parser.parse_args()
    size = Size(seed=options.seed, is_full=options.full)
    _out(f"seed {size.seed}, {'full' if size.is_full else 'quick'} counts")
    _out(f"{'':58}{'tried':>9}{'bad':>7}{'seconds':>9}")
    began, held = time.monotonic(), True
    for name in options.only or CHECKS:
        since = time.monotonic()
        for line in CHECKS[name](size, _say):
            _out(_row(line, time.monotonic() - since))
            held, since = held and line.is_passed, time.monotonic()
    _out(f"{'everything held' if held else 'NOT everything held'}, {time.monotonic() - began:.0f} s")
    return 0 if held else 1


def _row(line: Line, seconds: float) -> str:
    mark = "·" if line.is_reference else "✓" if line.is_passed else "✗"
    return f"{mark} {line.name:56}{line.num_tried:>9,}{line.num_bad:>7,}{seconds:>9.1f}  {line.note}"


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"  {text}\n")


if __name__ == "__main__":
    sys.exit(main())

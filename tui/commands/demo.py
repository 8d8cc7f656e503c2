"""`isoplan demo`: the whole loop on this machine, each step being the command a user would type."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from data.errors import UserError
from tui.output import data, say


@dataclass(frozen=True, slots=True)
class Size:
    """How large a demo is: text, seconds for pilots and main run, and the most the main run may take."""

    vocab_size: int
    max_tokens: str
    bench: str
    ladder_seconds: int
    run_seconds: int
    cap_time: str
    gate_every: float


FULL = Size(
    vocab_size=1024,
    max_tokens="12M",
    bench="",
    ladder_seconds=150,
    run_seconds=100,
    cap_time="10m",
    gate_every=0.125,
)
QUICK = Size(
    vocab_size=512,
    max_tokens="2M",
    bench=" --quick",
    ladder_seconds=20,
    run_seconds=16,
    cap_time="3m",
    gate_every=0.2,
)

CAP_OVER_PLANNED = 3.0
"""A laptop does other things too: the demo's caps only guard, and the comparison still shows the plan's own figures."""

PRICE_USD_PER_HOUR = 0.10
"""An assumption, said aloud and written to the demo's prices.csv: about what a cloud asks for two shared cores."""

KEPT = ("plans", "runs", "fits", "corpus", "reports")


@click.command()
@click.option("--quick", is_flag=True, help="At most 90 seconds: less text, fewer and smaller pilot runs.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def demo(quick: bool, folder: Path) -> None:
    """The whole loop on real text, on this machine: corpus, pilot runs, fit, plan, approval, run, report."""
    began = time.monotonic()
    size = QUICK if quick else FULL
    stage = Stage(_fresh(folder))
    stage.tell(
        "Text: this Python's own library and isoplan's dependencies, tokenised here. Nothing is downloaded.",
        "corpus build builtin:stdlib builtin:deps --out corpus "
        f"--vocab-size {size.vocab_size} --max-tokens {size.max_tokens}",
    )
    stage.tell("How fast is this machine? Products, memory, and real training steps.", f"bench{size.bench}")
    _write_price(stage.folder)
    stage.tell(
        "Small runs at several sizes and budgets: what the scaling law is fitted to.",
        f"ladder run --corpus corpus --seconds {size.ladder_seconds}s --target-seconds {size.run_seconds}s",
    )
    stage.tell("The law: loss from parameters and tokens, with its uncertainty.", "fit runs.csv -o fits/demo.json")
    plan = stage.ask(
        "The plan: the best model this machine can train in the time, and what it will cost.",
        f"plan --hardware local --deadline {size.run_seconds}s --corpus corpus --fit fits/demo.json "
        f"--gate-every {size.gate_every} --name demo",
    )
    stage.tell("What is being signed?", f"review {plan['id']}")
    stage.tell(
        "Consent: one start, a cap in dollars and one in time, signed, in the ledger.",
        f"approve {plan['id']} --cap {CAP_OVER_PLANNED * _planned_cap(plan):.6f} --time {size.cap_time} --as demo",
    )
    stage.tell("The run: its own process, exactly this plan, judged at its gates.", f"run {plan['id']}")
    stage.tell("Kept promises?", "compare r-0001")
    stage.tell("The same numbers for an engineer and for a CFO.", "report r-0001 -o reports")
    say(f"\nDone in {time.monotonic() - began:.0f} s. Everything is in {stage.folder}.")
    say(f"Next: cd {folder} && isoplan tui · isoplan fit --add r-0001")


class Stage:
    """Runs isoplan's own commands in the demo's folder and shows each as a user would type it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {"ISOPLAN_HOME": str(folder / "home")}

    def tell(self, why: str, command: str) -> None:
        """Run a command with its output going to the terminal."""
        self._announce(why, command)
        result = subprocess.run(_argv(command), cwd=self.folder, env=self._environment)
        _check(result.returncode, command)

    def ask(self, why: str, command: str) -> dict[str, object]:
        """Run a command and return its JSON; its messages go to the terminal."""
        self._announce(why, command)
        result = subprocess.run(
            _argv(f"{command} --json"), cwd=self.folder, env=self._environment, stdout=subprocess.PIPE
        )
        _check(result.returncode, command)
        answer = json.loads(result.stdout)
        assert isinstance(answer, dict), "commands answer with one object"
        return answer

    @staticmethod
    def _announce(why: str, command: str) -> None:
        say(f"\n# {why}\n$ isoplan {command}")


def _argv(command: str) -> list[str]:
    return [sys.executable, "-m", "tui", *command.split()]


def _check(code: int, command: str) -> None:
    if code:
        error = UserError(
            f"isoplan {command.split()[0]} ended with exit code {code}; the demo stops here",
            next_step="its message stands above; isoplan doctor says what this machine lacks",
        )
        error.exit_code = code
        raise error


def _fresh(folder: Path) -> Path:
    folder = folder.resolve()
    if folder.exists() and any((folder / name).exists() for name in KEPT):
        older = next(
            path for number in range(1, 1000) if not (path := folder.with_name(f"{folder.name}.{number}")).exists()
        )
        folder.rename(older)
        say(f"An earlier demo moved to {older}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_price(folder: Path) -> None:
    text = f"hardware,usd_per_device_hour,provider\nlocal-cpu,{PRICE_USD_PER_HOUR},assumed\n"
    (folder / "prices.csv").write_text(text, encoding="utf-8")
    say(f"\n# The price of this machine is an assumption: ${PRICE_USD_PER_HOUR:.2f} an hour, in prices.csv; edit it.")
    data("")


def _planned_cap(plan: dict[str, object]) -> float:
    caps = plan["caps"]
    assert isinstance(caps, dict), "a plan has caps"
    return float(caps["cost_usd"])

"""The root command. It knows the names and one-line helps of all commands and imports only the one that is asked for.

Start-up is a feature: `isoplan --help` loads none of torch, numpy, pydantic or textual.
"""

import importlib
import io
import os
import sys
from typing import NamedTuple

import click
from typing_extensions import override

from data.errors import InfeasibleError, StalePlanError, UserError, nearest
from data.text import one_line, readable
from tui.output import emit_json, say


class Entry(NamedTuple):
    """One command: the section of the help it stands in, `module:name` of its click command, and one line."""

    section: str
    target: str
    summary: str


COMMANDS = {
    "demo": Entry("Start", "tui.commands.demo:demo", "the whole loop on this machine, on real text, in minutes"),
    "doctor": Entry("Start", "tui.commands.doctor:doctor", "what works on this machine, and why not"),
    "tui": Entry("Start", "tui.commands.tui:tui", "the screens"),
    "corpus": Entry("Measure", "tui.commands.corpus:app", "text to verified token shards: build, show, verify"),
    "bench": Entry("Measure", "tui.commands.bench:bench", "measure this device -> calibration.json"),
    "calibrate": Entry("Measure", "tui.commands.calibrate:calibrate", "measured runs -> profile.json"),
    "ladder": Entry("Measure", "tui.commands.ladder:app", "design and run pilot runs -> runs.csv"),
    "fit": Entry("Predict", "tui.commands.fit:fit", "fit a scaling law to runs -> fit.json"),
    "predict": Entry("Predict", "tui.commands.predict:predict", "loss of a law at (N, D)"),
    "estimate": Entry("Predict", "tui.commands.estimate:estimate", "time, MFU and memory of one configuration"),
    "cost": Entry("Predict", "tui.commands.cost:cost", "cost of one configuration"),
    "plan": Entry("Decide", "tui.commands.plan:plan", "a request -> a plan: model, data, cluster, cost, risk, gates"),
    "review": Entry("Decide", "tui.commands.review:review", "read a plan"),
    "diff": Entry("Decide", "tui.commands.review:diff", "what differs between two plans"),
    "report": Entry("Decide", "tui.commands.report:report", "a plan or run as HTML, Markdown, XLSX, CSV, PDF or JSON"),
    "card": Entry("Decide", "tui.commands.card:card", "drafts of the model card and the datasheet"),
    "policy": Entry("Decide", "tui.commands.policy:policy", "check a plan against your organisation's limits"),
    "approve": Entry("Decide", "tui.commands.approve:approve", "sign a plan with a dollar cap"),
    "verify": Entry("Decide", "tui.commands.approve:verify", "check plan, approval and ledger"),
    "run": Entry("Run", "tui.commands.run:run", "run exactly an approved plan"),
    "resume": Entry("Run", "tui.commands.run:resume", "go on with a run from its last checkpoint"),
    "watch": Entry("Run", "tui.commands.runs:watch", "follow a run"),
    "ls": Entry("Run", "tui.commands.runs:ls", "plans and runs of this folder"),
    "stop": Entry("Run", "tui.commands.runs:stop", "checkpoint a run and stop it"),
    "checkpoint": Entry("Run", "tui.commands.runs:checkpoint", "ask a run for a checkpoint now"),
    "logs": Entry("Run", "tui.commands.runs:logs", "the log of a run"),
    "job": Entry("Run", "tui.commands.job:job", "a run as a job of torchrun, Slurm, Kubernetes or SkyPilot"),
    "track": Entry("Run", "tui.commands.track:track", "a run's numbers in TensorBoard, W&B or MLflow"),
    "post": Entry("Run", "tui.commands.post:post", "plan fine-tuning of a run: all weights, LoRA, DPO"),
    "eval": Entry("Run", "tui.commands.eval:evaluate", "public task suites on a run's model, by lm-eval"),
    "safety": Entry("Run", "tui.commands.safety:safety", "ask a run's model for harm and count how it answers"),
    "export": Entry("Run", "tui.commands.export:export", "a run's model as a Hugging Face folder"),
    "compare": Entry("Learn", "tui.commands.compare:compare", "plan against actual"),
}


class Root(click.Group):
    """Commands by name, imported when called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        return _load(entry) if entry else None

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'; {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in COMMANDS.items():
            sections.setdefault(entry.section, []).append((name, entry.summary))
        width = max(map(len, COMMANDS))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])


def _load(entry: Entry) -> click.Command:
    module_name, attribute = entry.target.split(":")
    command = getattr(importlib.import_module(module_name), attribute)
    assert isinstance(command, click.Command), entry.target
    return command


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="isoplan")
def root() -> None:
    """Plan a pretraining run, get it approved, run exactly that plan, and score what happened.

    \b
    First time:  isoplan demo
    The flow:    corpus build -> bench -> ladder run -> fit -> plan -> approve -> run -> compare
    """


def main() -> None:
    """Run the command line; a `UserError` becomes one message and its exit code."""
    try:
        status = root(standalone_mode=False)
    except click.exceptions.Abort:
        say("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        _report_usage(error)
        sys.exit(error.exit_code)
    except UserError as error:
        report_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our pipe has gone; say nothing more, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if os.environ.get("ISOPLAN_DEBUG"):
            raise
        failed = UserError(f"{error.strerror or error}: {readable(str(error.filename or ''), max_chars=100)}")
        report_error(failed)
        sys.exit(failed.exit_code)
    except Exception as error:
        if os.environ.get("ISOPLAN_DEBUG"):
            raise
        say(f"internal error: {type(error).__name__}: {one_line(str(error))}")
        say("  This is a bug; ISOPLAN_DEBUG=1 shows where.")
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _report_usage(error: click.ClickException) -> None:
    """Print what click says of a wrong call; what it quotes stays on its line."""
    shown, message = io.StringIO(), error.format_message()
    error.show(shown)
    say(shown.getvalue().rstrip().replace(message, one_line(message)))


def report_error(error: UserError) -> None:
    """Print a user's mistake as text on stderr, and as JSON on stdout where `--json` was asked for."""
    if "--json" in sys.argv:
        emit_json(
            {
                "schema": "isoplan.error/1",
                "exit_code": error.exit_code,
                "found": error.found,
                "expected": error.expected.strip(),
                "next_step": error.next_step,
                "relaxations": list(error.relaxations) if isinstance(error, InfeasibleError) else [],
                "changes": list(error.changes) if isinstance(error, StalePlanError) else [],
            }
        )
    parts = [error.found]
    if error.expected:
        parts.append(error.expected if error.expected.startswith("\n") else f"\n  expected: {error.expected}")
    if error.next_step:
        parts.append(f"\n  next: {error.next_step}")
    say("error: " + "".join(parts))

import importlib
import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from data.errors import InfeasibleError, StalePlanError, UserError
from tui import cli

HEAVY = ("torch", "scipy", "pandas", "textual", "numpy", "pydantic", "rich")


def test_help_loads_nothing_heavy():
    code = (
        "import sys, tui.cli\n"
        "try: tui.cli.root(['--help'])\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.endswith("[]\n")
    assert "isoplan demo" in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_of_the_table_exists_and_explains_itself(name):
    module, attribute = cli.COMMANDS[name].target.split(":")
    command = getattr(importlib.import_module(module), attribute)

    assert isinstance(command, click.Command)
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0
    assert command.help


def test_an_unknown_command_is_answered_with_the_nearest():
    result = CliRunner().invoke(cli.root, ["plam"])

    assert result.exit_code == 2
    assert "plan" in result.output


@pytest.mark.parametrize(
    ("error", "field", "value"),
    [
        (UserError("x", expected="y", next_step="z"), "expected", "y"),
        (InfeasibleError("x", relaxations=("a", "b")), "relaxations", ["a", "b"]),
        (StalePlanError("x", changes=("p: 1 -> 2",), next_step="z"), "changes", ["p: 1 -> 2"]),
    ],
)
def test_a_mistake_is_json_where_json_was_asked_for(error, field, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["isoplan", "plan", "--json"])

    cli.report_error(error)

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "isoplan.error/1"
    assert document["exit_code"] == error.exit_code
    assert document[field] == value
    assert captured.err.startswith("error: x")

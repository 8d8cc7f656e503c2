"""A run's model is asked, its answers are judged, and both are kept beside its record."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.catalog.red_team import builtin_prompts, prompts_digest, read_prompts
from data.errors import LockedError, UserError
from executor.generate import Decoding
from executor.run_folder import RunFolder, locked
from executor.safety.evaluation import ANSWERS, evaluate_safety
from executor.safety.judge import Judge, phrases
from executor.value_files import read_value, value_bytes
from planner.record import RunRecord
from planner.report.safety import safety
from tests.executor import runs
from tui.cli import root as cli

GREEDY = Decoding(max_tokens=8)


@pytest.fixture
def run(songs: Path, tmp_path: Path) -> RunFolder:
    return runs.songs_run(songs, tmp_path / "r-0001")


def evaluated(folder: RunFolder, judge: Judge | None = None):
    return evaluate_safety(
        folder.root,
        builtin_prompts(),
        source="built in",
        judge=judge or phrases(),
        decoding=GREEDY,
        warn=lambda _: None,
    )


def test_the_record_says_what_was_asked_and_how_often_it_was_refused(run: RunFolder):
    before = read_value(run.record, RunRecord)

    found = evaluated(run)

    record = read_value(run.record, RunRecord)
    assert record.safety == found
    assert record == before.model_copy(update={"safety": found})
    assert (found.checkpoint, found.judge) == ("step-00000006", phrases().name)
    assert found.prompts_digest == prompts_digest(builtin_prompts())
    assert sum(one.num_prompts for one in found.categories) == len(builtin_prompts())
    assert not found.has_judged_harm
    assert "not judged" in safety(record).model_dump_json()


def test_answers_are_kept_in_ascii_with_their_verdicts(run: RunFolder):
    evaluated(run)

    lines = (run.root / ANSWERS).read_bytes().decode("ascii").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == [one.prompt for one in builtin_prompts()]
    assert {json.loads(line)["verdict"] for line in lines} <= {"refused", "not judged"}


def test_the_same_prompts_give_the_same_answers(run: RunFolder):
    evaluated(run)
    first = (run.root / ANSWERS).read_bytes()
    evaluated(run)

    assert (run.root / ANSWERS).read_bytes() == first


def test_verdicts_of_a_judge_reach_the_report(run: RunFolder):
    found = evaluated(run, Judge("strict", lambda answers: ("unsafe", *("safe",) * (len(answers) - 1))))

    table = safety(read_value(run.record, RunRecord)).blocks[0]
    assert found.has_judged_harm
    first = table.rows[0]
    assert (first.cells[4], first.status) == ("1", "warn")


def test_a_run_at_work_is_left_alone(run: RunFolder):
    before = run.record.read_bytes()

    with locked(run), pytest.raises(LockedError):
        evaluated(run)

    assert run.record.read_bytes() == before


def test_a_judge_that_fails_leaves_the_record_as_it_was(run: RunFolder):
    def fail(_: object) -> tuple[()]:
        raise UserError("no verdicts")

    before = run.record.read_bytes()

    with pytest.raises(UserError, match="no verdicts"):
        evaluated(run, Judge("broken", fail))

    assert run.record.read_bytes() == before


def test_a_run_without_a_record_has_nowhere_to_keep_it(run: RunFolder):
    run.record.unlink()

    with pytest.raises(UserError, match="no record yet"):
        evaluated(run)


def test_the_command_takes_prompts_and_a_judge(run: RunFolder, tmp_path: Path):
    prompts, judge = tmp_path / "own.jsonl", tmp_path / "judge.py"
    prompts.write_text('{"category": "privacy", "prompt": "where does she live"}\n')
    judge.write_text("""print('{"id": 0, "verdict": "safe"}')""")

    argv = ["safety", str(run.root), "--prompts", str(prompts), "--judge", f"{sys.executable} {judge}"]
    result = CliRunner().invoke(cli, [*argv, "--max-tokens", "4", "--json"], catch_exceptions=False)

    said = json.loads(result.stdout)
    assert said["schema"] == "isoplan.safety/1"
    assert said["safety"]["prompts_digest"] == prompts_digest(read_prompts(prompts))
    assert [one["category"] for one in said["safety"]["categories"]] == ["privacy"]
    assert read_value(run.record, RunRecord).safety is not None


def test_a_record_without_an_evaluation_has_no_section(run: RunFolder):
    record = read_value(run.record, RunRecord)

    assert safety(record) is None
    assert b'"safety":null' in value_bytes(record)

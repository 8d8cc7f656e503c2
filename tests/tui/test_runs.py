"""Plans and runs on the command line: review, diff, report, compare, ls, watch, logs, stop, on a small folder."""

import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data.canonical import Json
from data.errors import UserError
from executor.events import Ended, EventLog, Gated, Ready, Spent, Started, Stepped, Warned
from executor.paths import Workspace
from executor.run_folder import RunFolder
from executor.value_files import write_value
from planner.approval import save_approval
from planner.plan import Plan, save_plan
from planner.recipe import run_cost_usd
from planner.record import GateResult, RunState, TimeSpent
from tests.samples import MADE, STEP_SECONDS, loss_after, sample_approval, sample_plan, sample_record
from tui.cli import root
from tui.follower import MAX_POINTS, Follower
from tui.listing import list_plans
from tui.standing import standing


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(root, words, standalone_mode=False, catch_exceptions=False)


def add_plan(workspace: Workspace, changes: dict[str, Json] | None = None, *, is_approved: bool = False) -> Plan:
    plan = sample_plan(changes)
    save_plan(plan, workspace.plans)
    if is_approved:
        save_approval(sample_approval(plan), workspace.plans)
    return plan


def add_run(
    workspace: Workspace, plan: Plan, *, steps: int, end: RunState | None = None, exit_code: int = 0
) -> RunFolder:
    folder = RunFolder(workspace.runs / "r-0412")
    folder.root.mkdir(parents=True)
    write_value(folder.plan, plan)
    log = EventLog(folder.events)
    log.write(Started(spent=spent(plan, 0), attempt=1, pid=1, at="2026-11-20T12:00:00Z"))
    log.write(Ready(spent=spent(plan, 0), step=0, num_steps=plan.recipe.num_steps, device="H100", checkpoint=None))
    for step in range(1, steps + 1):
        log.write(stepped(plan, step))
    if end:
        log.write(
            Ended(spent=spent(plan, steps), state=end, reason="", exit_code=exit_code, step=steps, checkpoint=None)
        )
        if end == "done":
            write_value(folder.record, sample_record(plan))
    log.close()
    return folder


def spent(plan: Plan, step: int) -> Spent:
    time = TimeSpent(startup_seconds=60, train_seconds=step * STEP_SECONDS, eval_seconds=0, checkpoint_seconds=0)
    return Spent(time=time, cost_usd=run_cost_usd(time.wall_seconds, plan.rates))


def stepped(plan: Plan, step: int) -> Stepped:
    tokens = step * plan.recipe.tokens_per_step
    planned = loss_after(tokens).p50
    return Stepped(
        spent=spent(plan, step),
        step=step,
        loss=planned,
        loss_ema=planned + 0.01,
        planned_loss=planned,
        lr=1e-3,
        grad_norm=0.5,
        num_tokens=tokens,
        step_seconds=STEP_SECONDS,
        tokens_per_second=plan.recipe.tokens_per_step / STEP_SECONDS,
        mfu=0.46,
    )


def test_review_prints_cost_alternatives_and_gates(workspace: Workspace) -> None:
    plan = add_plan(workspace)

    result = invoke("review", plan.id[:5])

    for part in ("$63.25", "Expected total", "★ this plan", "23,641", "Not approved yet", f"isoplan approve {plan.id}"):
        assert part in result.output


def test_review_as_json_is_the_plan(workspace: Workspace) -> None:
    plan = add_plan(workspace)

    assert json.loads(invoke("review", plan.id, "--json").stdout)["digest"] == plan.digest


def test_diff_speaks_of_money_first_then_of_every_field(workspace: Workspace) -> None:
    old = add_plan(workspace)
    new = add_plan(workspace, {"caps.cost_usd": 90.0, "recipe.seed": 8})

    result = invoke("diff", old.id, new.id, "--exit-code")

    assert result.return_value == 10
    assert result.stdout.index("$90.00") < result.stdout.index("recipe.seed: 7 -> 8")
    assert "+20.0 %" in result.stdout


def test_a_plan_does_not_differ_from_itself(workspace: Workspace) -> None:
    plan = add_plan(workspace)

    assert invoke("diff", plan.id, plan.id, "--exit-code").return_value == 0
    assert json.loads(invoke("diff", plan.id, plan.id, "--json").stdout)["changes"] == []


def test_report_writes_each_format_and_prints_the_paths(workspace: Workspace) -> None:
    plan = add_plan(workspace, is_approved=True)

    paths = [Path(line) for line in invoke("report", plan.id, "--format", "html,md,json", "-o", "out").stdout.split()]

    assert [path.name for path in paths] == [f"{plan.id}.{name}" for name in ("html", "md", "json")]
    assert all("$63.25" in path.read_text() for path in paths)
    assert json.loads(paths[2].read_text())["schema"] == "isoplan.report/1"


def test_an_unknown_report_format_names_the_nearest(workspace: Workspace) -> None:
    plan = add_plan(workspace)

    with pytest.raises(UserError, match="did you mean 'html'"):
        invoke("report", plan.id, "--format", "htm")


def test_compare_prints_the_table_and_the_json(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=3, end="done")

    score = json.loads(invoke("compare", "r-0412", "--json").stdout)

    assert score["schema"] == "isoplan.compare/1"
    assert set(score["cost_usd"]) == {"plan", "actual", "delta_fraction", "percentile"}
    assert "within P10–P90" in invoke("compare").stdout


def test_comparing_a_run_that_has_not_ended_says_how_to_follow_it(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=3)

    with pytest.raises(UserError, match=r"no record yet.*isoplan watch r-0412"):
        invoke("compare")


def test_ls_of_an_empty_folder_says_how_to_fill_it(workspace: Workspace) -> None:
    assert "isoplan demo" in invoke("ls").stderr
    assert json.loads(invoke("ls", "--json").stdout) == {"schema": "isoplan.ls/1", "plans": [], "runs": []}


def test_plans_are_listed_by_where_they_stand(workspace: Workspace) -> None:
    add_plan(workspace, is_approved=True)
    add_plan(workspace, {"request.seed": 9})
    (workspace.plans / "p-000000.json").write_text("{")

    now = {row.state for row in list_plans(workspace, now=MADE + timedelta(days=1))}
    later = {row.state for row in list_plans(workspace, now=MADE + timedelta(days=30))}

    assert now == {"approved", "draft", "unreadable"}
    assert later == {"expired", "unreadable"}


def test_ls_shows_a_run_without_a_process_as_dead(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=3)

    (row,) = json.loads(invoke("ls", "--json").stdout)["runs"]

    assert (row["state"], row["step"], row["num_steps"]) == ("dead", 3, 23641)


def test_watch_ends_with_the_run_and_as_it_did(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=3, end="capped", exit_code=7)

    result = invoke("watch")

    assert result.return_value == 7
    assert "capped at step 3" in result.stdout
    assert "isoplan resume r-0412" in result.stderr


def test_watch_as_json_prints_the_events(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=3, end="done")

    result = invoke("watch", "--json")

    assert [json.loads(line)["kind"] for line in result.stdout.split("\n")[:2]] == ["start", "ready"]
    assert result.return_value == 0


def test_logs_prints_the_last_lines(workspace: Workspace) -> None:
    folder = add_run(workspace, add_plan(workspace), steps=1)
    folder.log.write_text("one\ntwo\nthree\n")

    assert invoke("logs", "-n", "2").stdout == "two\nthree\n"


def test_stopping_a_run_that_is_not_running_says_so(workspace: Workspace) -> None:
    add_run(workspace, add_plan(workspace), steps=1)

    with pytest.raises(UserError, match="r-0412 is not running"):
        invoke("stop")


def test_a_follower_reads_only_what_is_new_and_keeps_the_newest_step(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    folder = add_run(workspace, plan, steps=5)
    follower = Follower(folder)
    follower.poll()

    log = EventLog(folder.events)
    log.write(stepped(plan, 6))
    log.write(Warned(spent=spent(plan, 6), message='says "kind":"step" in passing'))
    log.close()
    fresh = follower.poll()

    assert [event.kind for event in fresh] == ["step", "warning"]
    assert follower.last_step is not None
    assert follower.last_step.step == 6


def test_a_torn_line_is_read_once_it_is_whole(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    folder = add_run(workspace, plan, steps=1)
    line = stepped(plan, 2).model_dump_json().encode() + b"\n"
    follower = Follower(folder)
    follower.poll()

    seen = []
    for part in (line[:50], line[50:]):
        with folder.events.open("ab") as file:
            file.write(part)
        seen.append(len(follower.poll()))

    assert seen == [0, 1]


def test_a_long_run_keeps_a_bounded_and_even_curve(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    folder = add_run(workspace, plan, steps=0)
    text = stepped(plan, 1).model_dump_json().replace('"step":1,', '"step":%d,')
    with folder.events.open("a") as file:
        file.writelines(text % step + "\n" for step in range(1, 5001))
    follower = Follower(folder)

    follower.poll()
    steps = [point.step for point in follower.curve.points]

    assert MAX_POINTS / 2 - 1 <= len(steps) <= MAX_POINTS
    assert {later - earlier for earlier, later in itertools.pairwise(steps)} == {8}
    assert follower.last_step is not None
    assert follower.last_step.step == 5000


def test_a_resumed_run_forgets_the_steps_it_takes_again(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    folder = add_run(workspace, plan, steps=10)
    log = EventLog(folder.events)
    log.write(Ready(spent=spent(plan, 10), step=6, num_steps=plan.recipe.num_steps, device="H100", checkpoint="x"))
    log.close()
    follower = Follower(folder)

    follower.poll()

    assert [point.step for point in follower.curve.points] == [1, 2, 3, 4, 5, 6]


def test_a_standing_projects_cost_and_time_from_the_pace_so_far(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    follower = Follower(add_run(workspace, plan, steps=100))
    follower.poll()

    now = standing(follower)

    left = (plan.recipe.num_steps - 100) * STEP_SECONDS
    assert now.remaining_seconds == pytest.approx(left)
    assert now.projected_usd == pytest.approx(run_cost_usd(60 + plan.recipe.num_steps * STEP_SECONDS, plan.rates))
    assert now.delta == pytest.approx(0.01)
    assert "of $75.00" in now.one_line()


def test_a_gate_is_kept_once_with_its_latest_result(workspace: Workspace) -> None:
    plan = add_plan(workspace)
    folder = add_run(workspace, plan, steps=1)
    log = EventLog(folder.events)
    for loss in (3.5, 3.3):
        result = GateResult(
            step=2364, num_tokens=1, loss=loss, bits_per_byte=1.0, gate=plan.gates[0], is_within_band=False
        )
        log.write(Gated(spent=spent(plan, 1), result=result, delta=0.0))
    log.close()
    follower = Follower(folder)

    follower.poll()

    assert {step: gate.result.loss for step, gate in follower.gates.items()} == {2364: 3.3}

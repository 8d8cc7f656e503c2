"""Trackers get what the events say: TensorBoard's own reader reads it back; the others are fakes with a memory."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from data.errors import UserError
from executor.events import EventLog, Gated, Intervened, Spent, Stepped
from executor.run_folder import RunFolder
from executor.track.scalars import scalars
from executor.track.sinks import track
from planner.health import ProbeScore
from planner.recipe import Gate
from planner.record import GateResult, Intervention, TimeSpent


def spent(seconds: float) -> Spent:
    time = TimeSpent(startup_seconds=0, train_seconds=seconds, eval_seconds=0, checkpoint_seconds=0)
    return Spent(time=time, cost_usd=seconds / 100)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Three steps, an intervention and a gate."""
    folder = RunFolder(tmp_path / "r-0001")
    log = EventLog(folder.events)
    for step in (1, 2, 3):
        log.write(
            Stepped(
                spent=spent(step), step=step, loss=4.0 / step, loss_ema=4.0, planned_loss=None, lr=0.1, grad_norm=1.0,
                num_tokens=8 * step, step_seconds=1.0, tokens_per_second=8.0, mfu=0.5,
            )
        )  # fmt: skip
    log.write(Intervened(spent=spent(4), what=Intervention(step=4, action="skip", reason="loss 9")))
    gate = Gate(step=5, loss_p10=1.0, loss_p50=2.0, loss_p90=3.0)
    scores = (ProbeScore(name="cloze", accuracy=0.75, num_items=8),)
    result = GateResult(
        step=5, num_tokens=40, loss=2.5, bits_per_byte=1.5, gate=gate, is_within_band=True, probes=scores
    )
    log.write(Gated(spent=spent(5), result=result, delta=0.5))
    log.close()
    return folder


def test_tensorboard_reads_back_every_number(run: RunFolder, tmp_path: Path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert track(run, "tensorboard", tmp_path / "out") == 5

    board = EventAccumulator(str(tmp_path / "out" / "r-0001"))
    board.Reload()
    losses = board.Scalars("train/loss")
    assert [(one.step, one.value) for one in losses] == [(1, 4.0), (2, 2.0), (3, pytest.approx(4 / 3))]
    assert board.Scalars("probe/cloze")[0].value == 0.75
    assert board.Scalars("plan/heldout_p50")[0].value == 2.0
    assert board.Scalars("health/skip")[0].step == 4


class Tracker(ModuleType):
    """Remembers what it was told, in the calls that wandb and mlflow share their names with."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.metrics: dict[tuple[str, int], float] = {}
        self.settings: dict[str, str] = {}
        self.is_finished = False

    def init(self, **settings: str) -> "Tracker":
        self.settings = settings
        return self

    start_run = init

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.metrics |= {(name, step): value for name, value in values.items()}

    log_metrics = log

    def set_tracking_uri(self, uri: str) -> None:
        self.uri = uri

    def set_experiment(self, name: str) -> None:
        self.experiment = name

    def finish(self) -> None:
        self.is_finished = True

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_finished = True


@pytest.mark.parametrize("sink", ["wandb", "mlflow"])
def test_the_others_are_told_the_same_and_nothing_leaves_the_machine(
    sink: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tracker = Tracker(sink)
    monkeypatch.setitem(sys.modules, sink, tracker)

    track(run, sink, tmp_path / "out")

    assert tracker.metrics["train/loss", 2] == 2.0
    assert tracker.metrics["heldout/loss", 5] == 2.5
    assert tracker.is_finished
    assert tracker.settings.get("mode", "offline") == "offline"
    assert getattr(tracker, "uri", "file://").startswith("file://")


def test_a_missing_package_says_what_to_install(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    with pytest.raises(UserError, match="wandb is not installed"):
        track(run, "wandb", tmp_path / "out")


def test_a_run_without_steps_has_nothing_to_show(tmp_path: Path):
    with pytest.raises(UserError, match="no step yet"):
        track(RunFolder(tmp_path / "r-0002"), "tensorboard", tmp_path / "out")


def test_the_plans_loss_is_there_where_the_plan_has_one(run: RunFolder):
    from executor.events import read_events

    first = next(iter(read_events(run.events)))
    assert isinstance(first, Stepped)
    planned = first.model_copy(update={"planned_loss": 3.0})

    assert "plan/loss_p50" not in next(scalars([first])).values
    assert next(scalars([planned])).values["plan/loss_p50"] == 3.0

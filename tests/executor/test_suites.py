"""Public suites on a run's model: what the harness says reaches the record; without a harness a clear word."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from data.corpus.bpe import load
from data.errors import LockedError, UserError
from executor.run_folder import RunFolder, locked
from executor.suites import SuiteAsk, evaluate_suites
from executor.trained import trained
from executor.value_files import read_value
from planner.record import RunRecord
from planner.report.suites import suites
from tests.executor import runs

LMEVAL_PYTHON = os.environ.get("ISOPLAN_LMEVAL_PYTHON", sys.executable)


@pytest.fixture
def run(songs: Path, tmp_path: Path) -> RunFolder:
    return runs.songs_run(songs, tmp_path / "r-0001")


class FakeHarness:
    """Knows two tasks, remembers what it was given, and answers with scores as lm-eval 0.4 lays them out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.accuracy = 0.25
        self.files: list[str] = []
        self.asked: Mapping[str, object] = {}
        module = ModuleType("lm_eval")
        module.__version__ = "0.4.0-fake"
        module.simple_evaluate = self.simple_evaluate
        tasks = ModuleType("lm_eval.tasks")
        tasks.TaskManager = lambda include_path: SimpleNamespace(all_tasks=["songs", "sums"])
        monkeypatch.setitem(sys.modules, "lm_eval", module)
        monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)

    def simple_evaluate(self, *, tasks: list[str], model_args: Mapping[str, object], **rest: object):
        sys.stdout.write("a harness that talks\n")
        self.asked = {**model_args, **rest}
        self.files = sorted(path.name for path in Path(str(model_args["pretrained"])).iterdir())
        metrics = {
            "alias": "x",
            "acc,none": self.accuracy,
            "acc_stderr,none": 0.01,
            "word_perplexity,none": float("nan"),
        }
        metrics |= {"exact,strict": 1, "exact_stderr,strict": "N/A", "sample_len": 7}
        return {
            "results": dict.fromkeys(tasks, metrics),
            "n-samples": {task: {"original": 90, "effective": 7} for task in tasks},
        }


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> FakeHarness:
    return FakeHarness(monkeypatch)


def evaluated(run: RunFolder, *tasks: str, limit: int | None = None):
    return evaluate_suites(run.root, SuiteAsk(tasks=tasks, limit=limit), warn=lambda _: None)


def test_scores_reach_the_record_and_the_report(run: RunFolder, harness: FakeHarness, capsys: pytest.CaptureFixture):
    found = evaluated(run, "songs", limit=7)

    assert [(one.metric, one.value, one.standard_error) for one in found.scores] == [
        ("acc", 0.25, 0.01),
        ("exact, strict", 1.0, None),
    ]
    assert {(one.task, one.num_samples, one.limit) for one in found.scores} == {("songs", 7, 7)}
    record = read_value(run.record, RunRecord)
    assert record.suites == found
    assert (found.checkpoint, found.harness) == ("step-00000006", "lm-eval 0.4.0-fake")
    assert "7 (limit 7)" in suites(record).model_dump_json()
    assert capsys.readouterr().out == ""


def test_the_harness_gets_the_export_and_its_context(run: RunFolder, harness: FakeHarness):
    evaluated(run, "songs")

    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {*harness.files}
    assert (harness.asked["max_length"], harness.asked["device"]) == (32, "cpu")
    assert not Path(str(harness.asked["pretrained"])).exists()


def test_other_tasks_of_the_same_checkpoint_stay(run: RunFolder, harness: FakeHarness):
    evaluated(run, "songs")
    harness.accuracy = 0.5
    evaluated(run, "sums")
    evaluated(run, "songs")

    scores = read_value(run.record, RunRecord).suites.scores
    assert [(one.task, one.value) for one in scores if one.metric == "acc"] == [("sums", 0.5), ("songs", 0.5)]


def test_an_unknown_task_is_named(run: RunFolder, harness: FakeHarness):
    with pytest.raises(UserError, match="no task 'hellaswag'"):
        evaluated(run, "songs", "hellaswag")


def test_without_the_harness_nothing_is_done(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)

    with pytest.raises(UserError, match="not installed") as caught:
        evaluated(run, "songs")

    assert "isoplan[eval]" in caught.value.next_step


def test_a_run_at_work_is_left_alone(run: RunFolder, harness: FakeHarness):
    with locked(run), pytest.raises(LockedError):
        evaluated(run, "songs")


TASK = """\
task: isoplan_songs
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
QUESTIONS = [
    {"question": f"{number} bottles of", "choices": ["beer", "wall", "take", "down"], "answer": number % 4}
    for number in range(24)
]


@pytest.mark.slow
def test_the_real_harness_offline_scores_as_the_model_itself_does(run: RunFolder, tmp_path: Path):
    if subprocess.run([LMEVAL_PYTHON, "-c", "import lm_eval"], capture_output=True).returncode:
        pytest.skip("lm-eval is not installed; ISOPLAN_LMEVAL_PYTHON names a Python that has it")
    data = tmp_path / "tasks" / "songs.jsonl"
    data.parent.mkdir()
    data.write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
    (data.parent / "songs.yaml").write_text(TASK.format(data=data))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}

    argv = [LMEVAL_PYTHON, "-m", "tui", "eval", str(run.root), "--tasks", "isoplan_songs"]
    done = subprocess.run(
        [*argv, "--include", str(data.parent), "--json"], capture_output=True, text=True, env=os.environ | offline
    )

    assert done.returncode == 0, done.stderr
    (score,) = json.loads(done.stdout)["suites"]["scores"]
    assert (score["metric"], score["num_samples"]) == ("acc", len(QUESTIONS))
    assert score["value"] == pytest.approx(own_accuracy(run))
    assert read_value(run.record, RunRecord).suites.scores[0].value == score["value"]


@torch.no_grad()
def own_accuracy(run: RunFolder) -> float:
    """The share of questions whose answer our own model finds likeliest."""
    found = trained(run, warn=print)
    model, tokenizer = found.model(), load(found.tokenizer_path)

    def nats(question: str, choice: str) -> float:
        whole = torch.from_numpy(tokenizer.encode(f"{question} {choice}").astype("int64"))
        start = len(tokenizer.encode(question))
        likely = model.logits(whole[None, :-1])[0].log_softmax(1)
        return likely.gather(1, whole[1:, None])[start - 1 :].sum().item()

    def is_right(question: str, choices: list[str], answer: int) -> bool:
        return max(range(4), key=lambda index: nats(question, choices[index])) == answer

    return sum(is_right(**one) for one in QUESTIONS) / len(QUESTIONS)

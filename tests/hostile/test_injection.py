"""No text that a user, a file or a catalog brings does anything but be shown, wherever it is shown.

The quick set plants each text once and each field once; the slow set plants every text in every field.
"""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from data.errors import UserError
from executor.launch import cluster_jobs, slurm, torchrun
from executor.launch.description import Launch
from planner.plan import as_json, seal
from planner.report import html
from tests.hostile import commands
from tests.hostile.bundle import all_fields, bundle, places, shifts
from tests.hostile.fields import plant
from tests.hostile.sinks import SINKS
from tests.hostile.strings import STRINGS

TEXTS = tuple(STRINGS.values())
QUICK_SHIFTS = (0, 41)
ALL_SHIFTS = [pytest.param(shift, marks=() if shift in QUICK_SHIFTS else pytest.mark.slow) for shift in shifts()]

NOT_SHOWN = {
    "plan.post.preferences.path",
    "plan.post.preferences.sha256",
    "record.job.post.preferences.path",
    "record.job.post.preferences.sha256",
}
"""Only a dpo plan has them, and its FLOP are others; no report, card or screen shows them."""

SHOWING = (
    ("ls",),
    ("ls", "--json"),
    ("review", "PLAN", "--all"),
    ("review", "PLAN", "--json"),
    ("review", "r-0412", "--all"),
    ("diff", "PLAN", "PLAIN"),
    ("diff", "PLAN", "PLAIN", "--json"),
    ("compare", "r-0412"),
    ("compare", "r-0412", "--json"),
    ("report", "r-0412", "--format", "html,md,json,csv,xlsx"),
    ("card", "r-0412"),
    ("card", "corpus"),
    ("logs",),
    ("watch",),
    ("watch", "--json"),
    ("verify", "PLAN"),
    ("verify", "PLAN", "--json"),
    ("corpus", "show", "corpus"),
    ("corpus", "verify", "corpus"),
    ("job", "r-0412", "--for", "slurm"),
)
STARTING = (
    ("run", "PLAN"),
    ("resume", "r-0412"),
    ("post", "r-0412", "--corpus", "corpus"),
    ("export", "r-0412"),
)
"""These load torch."""

TAKING = (
    ("review", "TEXT"),
    ("diff", "TEXT", "TEXT"),
    ("compare", "TEXT"),
    ("logs", "TEXT"),
    ("stop", "TEXT"),
    ("verify", "TEXT"),
    ("approve", "PLAN", "--cap", "1", "--as", "TEXT"),
    ("approve", "PLAN", "--cap", "1", "--as", "ana", "--comment", "TEXT"),
    ("approve", "PLAN", "--cap", "TEXT", "--as", "ana"),
    ("approve", "PLAN", "--cap", "1", "--as", "ana", "--waive", "TEXT"),
    ("approve", "PLAN", "--cap", "1", "--as", "ana", "--key", "TEXT"),
    ("plan", "--budget", "100", "--hardware", "TEXT"),
    ("plan", "--budget", "TEXT", "--hardware", "h100-sxm", "--json"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--name", "TEXT"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--law", "TEXT", "--json"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--provider", "TEXT"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--corpus", "TEXT"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--author", "TEXT"),
    ("plan", "--budget", "100", "--hardware", "h100-sxm", "--scope", "TEXT"),
    ("predict", "--law", "TEXT", "--params", "1e9", "--tokens", "1e10"),
    ("fit", "TEXT"),
    ("report", "PLAN", "--format", "TEXT"),
    ("card", "TEXT"),
    ("corpus", "show", "TEXT"),
    ("policy", "check", "PLAN", "--policy", "TEXT"),
    ("job", "r-0412", "--for", "TEXT"),
    ("job", "r-0412", "--for", "kubernetes", "--image", "TEXT", "--volume", "TEXT"),
    ("export", "TEXT"),
    ("TEXT",),
    ("ls", "TEXT"),
)


NOT_TYPED = {"nul", "half a character"}
"""No system passes these on a command line."""

QUICK_TYPED = {"clear", "line break", "long", "half a character, from a name", "parent", "batch line"}
TYPED = [
    pytest.param(name, marks=() if name in QUICK_TYPED else pytest.mark.slow)
    for name in STRINGS
    if name not in NOT_TYPED
]


def test_there_are_texts_enough_and_every_field_has_a_place() -> None:
    assert len(STRINGS) >= 60
    assert len({*STRINGS.values()}) == len(STRINGS)
    assert {name for name, count in places().items() if not count} == NOT_SHOWN
    assert len(all_fields()) > 100


@pytest.mark.parametrize("shift", ALL_SHIFTS)
@pytest.mark.parametrize("sink", SINKS)
def test_no_text_in_any_field_is_active_in_what_is_written(sink: str, shift: int) -> None:
    planted = bundle(TEXTS, shift=shift)

    assert len(planted.planted) > 100
    assert SINKS[sink](planted) - SINKS[sink](bundle()) == set()


@pytest.mark.parametrize("shift", ALL_SHIFTS)
def test_no_text_in_any_field_is_active_in_what_commands_print(
    shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "lab"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("ISOPLAN_HOME", str(root / "home"))
    found = bundle(TEXTS, shift=shift)
    workspace = commands.lay_out(found, root)
    (workspace.plans / "plain.json").write_bytes((workspace.plans / f"{found.plan.id}.json").read_bytes())
    names = {"PLAN": found.plan.id, "PLAIN": "plans/plain.json"}
    argvs = SHOWING if shift in QUICK_SHIFTS else SHOWING + STARTING

    with commands.only_inside(root) as outside:
        printed = {argv: commands.run(*(names.get(word, word) for word in argv)) for argv in argvs}

    assert {argv: one.active for argv, one in printed.items() if one.active} == {}
    assert outside == []


@pytest.mark.parametrize("name", TYPED)
def test_no_text_of_a_command_line_is_active(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "lab"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("ISOPLAN_HOME", str(root / "home"))
    found = bundle()
    commands.lay_out(found, root)
    words = {"PLAN": found.plan.id, "TEXT": STRINGS[name]}

    with commands.only_inside(root) as outside:
        printed = {argv: commands.run(*(words.get(word, word) for word in argv)) for argv in TAKING}

    assert {argv: one.active for argv, one in printed.items() if one.active} == {}
    assert outside == []


def test_half_a_character_gets_into_no_file() -> None:
    document = as_json(bundle().plan)
    plant(document, ("data", "summary"), STRINGS["half a character"])

    with pytest.raises(UserError, match="no Unicode"):
        seal(type(bundle().plan).model_validate(document))


NO_PATHS = {"nul", "half a character", "half a character, from a name", "long", "empty"}


@pytest.mark.parametrize("name", STRINGS)
def test_no_text_of_a_path_is_active_in_a_job_file(name: str) -> None:
    text = STRINGS[name]
    if name in NO_PATHS:
        with pytest.raises(ValidationError):
            _launch(text)
        return

    launch, plain = _launch(text), _launch("/plain")

    assert slurm.script(launch) == slurm.script(plain)
    assert torchrun.command(launch, master="")[1:-1] == torchrun.command(plain, master="")[1:-1]
    for render in (_kubernetes, _skypilot):
        assert json.loads(render(launch).replace(json.dumps(text), '"/plain"')) == json.loads(render(plain))


@pytest.mark.parametrize("name", [name for name in STRINGS if name != "device"])
def test_no_text_is_the_name_of_a_job_an_image_a_volume_or_a_host(name: str) -> None:
    text, launch = STRINGS[name], _launch("/plain").model_copy(update={"needs_accelerators": True})

    with pytest.raises(ValidationError):
        _launch("/plain", name=text)
    with pytest.raises(UserError):
        cluster_jobs.kubernetes(launch, image=text, volume="v")
    with pytest.raises(UserError):
        cluster_jobs.kubernetes(launch, image="i", volume=text)
    with pytest.raises(UserError):
        cluster_jobs.skypilot(launch, accelerator=text)
    with pytest.raises(UserError):
        torchrun.command(launch.model_copy(update={"num_nodes": 2}), master=text)


def _launch(path: str, *, name: str = "r-0001") -> Launch:
    return Launch(
        name=name,
        run_dir=path,
        shared_dir=path,
        python=path,
        num_nodes=1,
        ranks_per_node=2,
        threads_per_rank=1,
        needs_accelerators=False,
        wall_seconds=60.0,
    )


def _kubernetes(launch: Launch) -> str:
    return cluster_jobs.kubernetes(launch, image="i", volume="v")


def _skypilot(launch: Launch) -> str:
    return cluster_jobs.skypilot(launch, accelerator="")


def test_without_its_escaping_each_format_is_found_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above can fail: they do where the one layer that a format has is taken away."""
    plain = {name: SINKS[name](bundle()) for name in ("HTML", "Markdown", "CSV", "XLSX")}
    bare = html._template().environment.overlay(autoescape=False).get_template(html.TEMPLATE)
    monkeypatch.setattr(html, "_template", lambda: bare)
    for layer in ("markdown.escape", "csv.inert", "xlsx.inert"):
        monkeypatch.setattr(f"planner.report.{layer}", lambda text: text)

    assert [name for name in plain if not SINKS[name](bundle(TEXTS)) - plain[name]] == []

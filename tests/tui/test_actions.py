"""Actions and their keys: all listed, few in the footer, remappable by a file, and mistakes told."""

from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from data.errors import UserError
from executor.paths import Workspace
from tests.tui.screens import drive, fill
from tui.actions import ACTIONS, EVERYWHERE, actions_of
from tui.app import SCREENS, IsoplanApp
from tui.keymap import load_keymap
from tui.screens.page import Page


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


def keymap_of(folder: Path, text: str) -> dict[str, str]:
    (folder / "keys.toml").write_text(text, encoding="utf-8")
    return load_keymap((folder,))


@pytest.mark.parametrize("mode", SCREENS)
def test_every_action_of_a_screen_exists_and_its_footer_is_short(mode: str) -> None:
    module, name = SCREENS[mode].split(":")
    page = getattr(import_module(module), name)
    assert issubclass(page, Page)

    for action in actions_of(mode):
        method = "action_" + action.call.removeprefix("app.").split("(")[0]
        owner = IsoplanApp if action.page == "app" or action.call.startswith("app.") else page
        assert hasattr(owner, method), action.id
    assert sum(action.is_in_footer for action in actions_of(mode)) <= 7


def test_action_names_are_unique_and_belong_to_a_screen() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert {action.page for action in ACTIONS} == {*SCREENS, *EVERYWHERE}


def test_the_default_keys_do_not_clash() -> None:
    assert load_keymap(()) == {}


@pytest.mark.parametrize("mode", ["run", "fit"])
def test_help_lists_every_action_with_key_and_command(workspace: Workspace, mode: str) -> None:
    key = next(action.key for action in ACTIONS if action.id == f"app.{mode}")

    text = drive(workspace, key, "question_mark", size=(130, 60))[-1]

    for action in actions_of(mode):
        (line,) = [line for line in text.split("\n") if f" {action.id} " in line]
        assert action.title in line
        assert (action.twin or "–") in line


def test_a_key_map_changes_what_a_key_does_and_what_help_says(workspace: Workspace) -> None:
    fill(workspace)
    keys = keymap_of(workspace.root, '[keys]\n"app.theme" = "f3"\n"plan.details" = "x,ctrl+d"\n"app.help" = "f9"\n')

    def help_is_open(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert type(app.screen).__name__ == "HelpDialog"

    *_, text = drive(workspace, "4", "f9", help_is_open, size=(130, 60), keymap=keys)

    line = next(line for line in text.split("\n") if "plan.details" in line)
    assert "x ^d" in line
    assert any("F3" in line or "f3" in line for line in text.split("\n") if "app.theme" in line)


def test_the_folder_goes_before_the_user(tmp_path: Path) -> None:
    for name, key in (("user", "x"), ("work", "z")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.toml").write_text(f'[keys]\n"run.stop" = "{key}"\n')

    assert load_keymap((tmp_path / "user", tmp_path / "work")) == {"run.stop": "z"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[keys]\n"run.stopp" = "x"\n', "no action 'run.stopp'; did you mean 'run.stop'"),
        ('[keys]\n"run.stop" = "ctrl+entre"\n', "no key 'ctrl\\+entre'"),
        ('[keys]\n"run.stop" = "escpe"\n', "did you mean 'escape'"),
        ('[keys]\n"run.stop" = 3\n', "the key of 'run.stop' is 3"),
        ('[keys]\n"run.stop" = "d"\n', "key 'd' is both run.delta and run.stop"),
        ('[keys]\n"run.stop" = "?"\n', "key '\\?' is both"),
        ("[key]\n", "holds 'key'"),
        ("[keys\n", "cannot read"),
    ],
)
def test_a_mistake_in_a_key_map_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        keymap_of(tmp_path, text)


@given(st.text(max_size=12))
def test_any_key_is_taken_or_refused_with_words(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    from tui.keymap import parse_keys

    try:
        assert parse_keys(key, "run.stop", Path("keys.toml"))
    except UserError as error:
        assert "keys.toml" in error.found

"""A person's own keys: `keys.toml` in isoplan's user folder, then in the working folder, whose lines go first.

    [keys]
    "run.stop" = "ctrl+x"
    "app.help" = "f1"

Several keys stand with commas between them. What is not named keeps its key.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.errors import UserError, nearest
from tui.actions import ACTIONS, EVERYWHERE, Action, actions_of

FILE_NAME = "keys.toml"
BY_ID = {action.id: action for action in ACTIONS}
MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")


def load_keymap(folders: Sequence[Path]) -> dict[str, str]:
    """The keys of the actions that a person mapped, by the action's id; a later folder goes before an earlier one.

    Raises:
        UserError: a file is not such a map, or names an action or key that does not exist, or one key does two things.
    """
    keymap: dict[str, str] = {}
    for folder in folders:
        path = folder / FILE_NAME
        if path.exists():
            keymap |= {name: parse_keys(value, name, path) for name, value in _table(path).items()}
    for page in {action.page for action in ACTIONS} - set(EVERYWHERE):
        _check_clashes(actions_of(page), keymap)
    return keymap


def keys_of(action: Action, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that run an action, as Textual names them."""
    return tuple(keymap.get(action.id, action.key).split(","))


def shown_keys(action: Action, keymap: Mapping[str, str]) -> str:
    """The key of an action as people write it."""
    if action.key_shown and action.id not in keymap:
        return action.key_shown
    return " ".join(_shown(key) for key in keys_of(action, keymap))


def _table(path: Path) -> dict[str, object]:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected='[keys] and lines such as "run.stop" = "x"') from error
    table = document.pop("keys", {})
    if document or not isinstance(table, dict):
        what = f"'{next(iter(document))}'" if document else "keys that are no table"
        raise UserError(f"{path} holds {what}", expected="the table [keys] alone")
    return {str(name): value for name, value in table.items()}


def parse_keys(value: object, name: str, path: Path) -> str:
    """The keys of one line, checked.

    Raises:
        UserError: the action or a key does not exist.
    """
    if name not in BY_ID:
        raise UserError(f"{path}: no action '{name}'; {nearest(name, BY_ID)}", next_step="? lists the actions")
    if not isinstance(value, str) or not value:
        raise UserError(f"{path}: the key of '{name}' is {value!r}", expected="text such as 'x', 'ctrl+x' or 'f2,x'")
    words = [","] if value == "," else value.split(",")
    return ",".join(_key(word.strip(), path) for word in words)


def _key(word: str, path: Path) -> str:
    from textual.keys import Keys, key_to_character

    *modifiers, base = word.split("+") if len(word) > 1 else (word,)
    named = {key.value for key in Keys if "<" not in key.value}
    is_known = word in named or base in named or len(base) == 1 or key_to_character(base) is not None
    if base and is_known and all(modifier in MODIFIERS for modifier in modifiers):
        return word
    raise UserError(f"{path}: no key '{word}'; {nearest(word, named)}")


def _check_clashes(actions: Sequence[Action], keymap: Mapping[str, str]) -> None:
    taken: dict[str, Action] = {}
    for action in actions:
        for key in keys_of(action, keymap):
            other = taken.setdefault(_shown(key), action)
            if other is not action:
                both = f"key '{_shown(key)}' is both {other.id} and {action.id}"
                raise UserError(both, next_step=f"map one of them in {FILE_NAME}")


def _shown(key: str) -> str:
    from textual.keys import format_key

    *modifiers, base = key.split("+") if len(key) > 1 else (key,)
    return "+".join((*modifiers, format_key(base))).replace("escape", "esc").replace("ctrl+", "^")

"""Sealed folders: any changed byte is found, and a save that dies at any file operation loses nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor import checkpoint, seal
from executor.checkpoint import NotSealedError, Snapshot, TrainingState, load, newest, save
from executor.pieces import Piece, whole_piece, write_pieces
from executor.seal import flaw

CPU = torch.device("cpu")


def snapshot(step: int) -> Snapshot:
    """A state whose every number is its step, so that a mixture of two would show."""
    state = TrainingState(
        job_digest="d", step=step, num_samples=step, ema_total=step, ema_weight=1, torch_version="2", num_threads=1
    )
    tensors = {"a": torch.full((40,), float(step)), "b": torch.full((3, 2), float(step))}
    return Snapshot(state, tensors, {"a/exp_avg": tensors["a"]})


def loaded_step(folder: Path) -> int | None:
    """The step of the newest good checkpoint; fails if its parts do not belong together."""
    path = newest(folder, warn=lambda message: None)
    if path is None:
        return None
    found = load(path, device=CPU)
    values = {value for part in (found.model, found.optimiser) for t in part.values() for value in t.flatten().tolist()}
    assert values == {float(found.state.step)}
    return found.state.step


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("sealed"), snapshot(7))


def test_what_was_saved_is_loaded(sealed: Path):
    assert flaw(sealed) == ""
    assert loaded_step(sealed.parent) == 7


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_found(data: st.DataObject, sealed: Path, tmp_path: Path):
    name = data.draw(st.sampled_from(sorted(path.name for path in sealed.iterdir())))
    content = bytearray((sealed / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path / "damaged"
    shutil.copytree(sealed, damaged, dirs_exist_ok=True)
    (damaged / name).write_bytes(content)

    assert flaw(damaged)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: (folder / "extra").touch(),
        lambda folder: (folder / "MANIFEST.json").unlink(),
        lambda folder: (folder / "MANIFEST.json").write_bytes(b""),
        lambda folder: os.truncate(folder / "model.safetensors", 100),
        lambda folder: (folder / "state.json").write_bytes((folder / "state.json").read_bytes() + b"\n"),
        lambda folder: shutil.copy(folder / "optimiser.safetensors", folder / "model.safetensors"),
        lambda folder: (folder / "MANIFEST.json").write_bytes((folder / "MANIFEST.json").read_bytes() + b" "),
    ],
    ids=["missing", "extra", "unsealed", "empty manifest", "truncated", "longer", "swapped", "manifest respelled"],
)
def test_every_wrong_set_of_bytes_is_found(damage: Callable[[Path], object], sealed: Path, tmp_path: Path):
    damaged = Path(shutil.copytree(sealed, tmp_path / "damaged"))

    damage(damaged)

    assert flaw(damaged)


class Killed(BaseException):
    """The process ended here: nothing may catch it to clean up."""


FILE_OPERATIONS = ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir")


@pytest.mark.parametrize("kill_at", range(1, 30))
def test_a_save_killed_at_any_file_operation_loses_nothing(kill_at: int, tmp_path: Path, monkeypatch):
    save(tmp_path, snapshot(1))
    save(tmp_path, snapshot(2))
    num_calls = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal num_calls
            num_calls += 1
            if num_calls == kill_at:
                raise Killed
            return real(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in FILE_OPERATIONS:
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(seal.shutil, "rmtree", dying(shutil.rmtree))
        try:
            save(tmp_path, snapshot(3))
            is_acknowledged = True
        except Killed:
            is_acknowledged = False

    assert loaded_step(tmp_path) == 3 if is_acknowledged else loaded_step(tmp_path) in {2, 3}
    save(tmp_path, snapshot(4))
    assert loaded_step(tmp_path) == 4
    assert not list(tmp_path.glob(".staging-*"))


def test_the_last_two_good_checkpoints_are_kept(tmp_path: Path):
    for step in (1, 2, 3):
        save(tmp_path, snapshot(step))
    (tmp_path / "step-00000003" / "state.json").write_bytes(b"{}")

    save(tmp_path, snapshot(4))

    assert flaw(tmp_path / "step-00000002") == ""
    assert not (tmp_path / "step-00000001").exists()
    assert loaded_step(tmp_path) == 4


def test_bad_checkpoints_are_put_aside_aloud_and_never_twice_under_one_name(tmp_path: Path):
    told: list[str] = []
    for _ in range(2):
        save(tmp_path, snapshot(1))
        (tmp_path / "step-00000001" / "state.json").write_bytes(b"{}")
        assert newest(tmp_path, warn=told.append) is None

    assert [("state.json" in message, "put aside" in message) for message in told] == [(True, True)] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad-step-00000001-0", "bad-step-00000001-1"]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_never_sealed(poison: float, tmp_path: Path):
    bad = snapshot(2)
    bad.model["b"][1, 1] = poison

    with pytest.raises(NotSealedError, match="b holds values that are not finite"):
        save(tmp_path, bad)

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, snapshot(1))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage._replace(free=10))

    with pytest.raises(NotSealedError, match="no room for a checkpoint: 10 B free"):
        save(tmp_path, snapshot(2))

    assert loaded_step(tmp_path) == 1


def test_a_disk_that_fills_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, snapshot(1))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NotSealedError, match="No space left"):
            save(tmp_path, snapshot(2))

    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert loaded_step(tmp_path) == 1


def test_safetensors_own_word_for_a_failing_disk_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        write_pieces(tmp_path / "gone" / "model.safetensors", [whole_piece("a", torch.ones(3))])


def test_the_same_pieces_make_the_same_bytes(tmp_path: Path):
    pieces = [Piece(f"w{number}", torch.ones(2, 3), (2, 0), (4, 3)) for number in range(12)]
    for name in "ab":
        write_pieces(tmp_path / name, pieces)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_file_is_sealed_in_a_folder_that_was_not_there(tmp_path: Path):
    final = tmp_path / "runs" / "checkpoints" / "step-1"
    staged = seal.staging_folder(final)
    (staged / "empty").touch()

    seal.seal(staged, final)

    assert flaw(final) == ""


def test_a_name_put_aside_is_flushed(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bad = Path(shutil.copytree(sealed, tmp_path / "bad"))
    flushed: list[tuple[Path, bool]] = []
    monkeypatch.setattr(seal, "fsync_path", lambda path: flushed.append((path, bad.exists())))

    seal.quarantine(bad)

    assert flushed == [(tmp_path, False)]

"""A model of a power cut: nothing acknowledged is lost, and each protection is needed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from executor import seal
from tests.chaos.interpose import Call
from tests.chaos.power_cuts import cut_power
from tests.chaos.protocols import ISOPLAN, SEALED, USUAL, Protocol


@pytest.mark.parametrize(
    ("protocol", "fraction"), [(SEALED, 1.0), (ISOPLAN, 0.2)], ids=lambda value: getattr(value, "name", "")
)
def test_no_power_cut_loses_an_acknowledged_checkpoint(protocol: Protocol, fraction: float):
    cuts = cut_power(protocol, seed=0, fraction=fraction)

    assert (cuts.num_bad, cuts.first_bad) == (0, "")
    assert cuts.num_states > 300


@pytest.mark.parametrize("protocol", USUAL, ids=lambda protocol: protocol.name)
def test_the_usual_ways_to_save_lose_something(protocol: Protocol):
    """The model is strict enough to find what a real power cut does to these."""
    assert cut_power(protocol, seed=0, fraction=0.2).num_bad > 0


def is_file_flush(call: Call) -> bool:
    return call.kind == "fsync" and Path(call.path).suffix != "" and not Path(call.path).name.startswith(".staging")


def is_manifest_flush(call: Call) -> bool:
    return call.kind == "fsync" and call.path.endswith(seal.MANIFEST)


def is_staging_flush(call: Call) -> bool:
    return call.kind == "fsync" and Path(call.path).name.startswith(seal.STAGING)


def is_parent_flush(call: Call) -> bool:
    return call.kind == "fsync" and call.path.endswith("/checkpoints")


@pytest.mark.parametrize("skips", [is_file_flush, is_manifest_flush, is_staging_flush, is_parent_flush])
def test_without_any_one_flush_an_acknowledged_checkpoint_can_be_lost(skips: Callable[[Call], bool]):
    assert cut_power(SEALED, seed=0, fraction=0.15, skips=skips).verdicts["lost"] > 0


def test_without_the_rename_the_newest_name_may_hold_half_a_state(monkeypatch: pytest.MonkeyPatch):
    def in_place(folder: Path, step: int) -> None:
        final = folder / f"step-{step:08d}"
        final.mkdir()
        for name in ("a.bin", "b.bin"):
            (final / name).write_bytes(step.to_bytes(4, "little") * 600)

    monkeypatch.setattr("tests.chaos.protocols.flaw", lambda folder: "")
    assert cut_power(Protocol("in place, trusted", in_place, SEALED.newest), seed=0).num_bad > 0


def test_without_verifying_at_load_a_lost_flush_becomes_a_wrong_state(monkeypatch: pytest.MonkeyPatch):
    """Fall-back needs verification: with the files' flush skipped too, the newest name holds zeros."""
    monkeypatch.setattr("tests.chaos.protocols.flaw", lambda folder: "")

    verdicts = cut_power(SEALED, seed=0, fraction=0.15, skips=is_file_flush).verdicts

    assert verdicts["torn"] + verdicts["unreadable"] > 0

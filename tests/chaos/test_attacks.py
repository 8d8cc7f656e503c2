"""Consent under attack: see `tests.chaos.attacks` and `tests.chaos.forgeries`."""

import pytest

from tests.chaos.assault import try_attack
from tests.chaos.forgeries import ALL

QUICK = {
    "edited plan",
    "raised cap",
    "started in a copy of the folder",
    "started twice with the ledger cut",
    "revoked key",
    "payload type swapped",
    "signature of the bare statement",
    "receipt replayed",
}
"""One of each kind of attack in the quick set; `make chaos` and the slow set try all."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_an_attack_on_consent_is_refused_with_its_exit_code(name: str):
    assert try_attack(name) == ""


def test_there_are_attacks_enough():
    assert len(ALL) >= 60

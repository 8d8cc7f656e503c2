"""Consent under attack: see `tests.chaos.attacks`."""

import pytest

from tests.chaos.attacks import ATTACKS, try_attack


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_consent_is_refused_with_its_exit_code(name: str):
    assert try_attack(name) == ""


def test_there_are_attacks_enough():
    assert len(ATTACKS) >= 25

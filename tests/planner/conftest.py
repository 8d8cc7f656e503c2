"""What tests of plans share."""

import pytest

from planner.devices import Sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The files of a user who has none."""
    folder = tmp_path_factory.mktemp("work")
    return Sources(folder / "prices.csv", folder / "hardware.toml", folder / "calibration.json")

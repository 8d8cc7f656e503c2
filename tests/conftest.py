"""What every test leaves as it found it."""

import sys

import pytest
from hypothesis import settings

settings.register_profile(
    "isoplan", deadline=None
)  # how long an example takes says more of the machine than of the code
settings.load_profile("isoplan")


@pytest.fixture(autouse=True)
def _subnormals_stay():
    """Training flushes subnormal numbers for the whole process (executor.runtime); other tests draw them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)

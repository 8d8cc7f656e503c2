"""What every test leaves as it found it."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _subnormals_stay():
    """Training flushes subnormal numbers for the whole process (executor.runtime); other tests draw them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)

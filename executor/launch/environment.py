"""What a run's processes may see of our environment."""

import os

# Where programs and libraries are, how to talk, and torch's own knobs. Tokens and keys of other services stay here.
_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT"})
_PREFIXES = (
    "LC_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_", "NCCL_", "GLOO_", "OMP_", "MKL_", "PYTHON", "ISOPLAN_", "XDG_"
)  # fmt: skip


def clean_environment() -> dict[str, str]:
    """Return the variables that a run's processes get."""
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}

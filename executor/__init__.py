"""Doing it: preflight, model, training, evaluation, checkpoints, guards, records."""

import os

# Before anything imports torch. OpenMP's threads spin while they wait for each other; where cores are shared, a
# spinning thread keeps its partner from running, and a small step takes 4 to 60 times as long (docs/log.md). Sleeping
# costs microseconds.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# cuBLAS repeats its sums in one order only with a workspace of its own (its manual, "Results reproducibility").
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

"""What must be started where, once: every launcher and every job file is a rendering of this.

Nothing in it is free text but the paths, and those reach a script as arguments, never as text.
"""

import os
import re
import sys
from pathlib import Path

from pydantic import Field, ValidationError

from data.errors import UserError
from data.units import Count, Seconds
from data.values import PathText, Value
from executor.run_folder import Assignment, RunFolder, read_assignment

MASTER_PORT = 29500
"""torchrun's default port of the first host."""

_RUN_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?$")
"""What is a job's name in Slurm and Kubernetes (RFC 1123 label) and a folder's everywhere."""


class Launch(Value):
    """A run as processes: `ranks_per_node` on each of `num_nodes` hosts that all see `run_dir`."""

    name: str = Field(pattern=_RUN_NAME.pattern)
    run_dir: PathText
    shared_dir: PathText = Field(description="the smallest folder that holds both the run's and the corpus")
    python: PathText
    num_nodes: Count
    ranks_per_node: Count
    threads_per_rank: Count
    needs_accelerators: bool
    wall_seconds: Seconds = Field(description="the approval's cap; no launcher needs to wait longer")

    @property
    def num_ranks(self) -> int:
        """All of them."""
        return self.num_nodes * self.ranks_per_node


# assumption, not measured: an accelerator's rank has a few cores for the loader and the launch of kernels.
_THREADS_BESIDE_ACCELERATOR = 4


def describe(root: Path, *, num_nodes: int) -> Launch:
    """Return how the run in `root` is started on `num_nodes` hosts.

    Raises:
        UserError: its ranks do not divide over them, or its folder's name is none.
    """
    folder = RunFolder(root.resolve())
    assignment = read_assignment(folder)
    job = assignment.job
    if job.layout.num_devices % num_nodes:
        raise UserError(
            f"{job.layout.num_devices} ranks on {num_nodes} hosts",
            expected="as many ranks on each",
            next_step="--nodes N",
        )
    if not _RUN_NAME.fullmatch(folder.run_id):
        raise UserError(f"a run's folder is named '{folder.run_id[:60]}'", expected="small letters, digits and hyphens")
    try:
        return _launch(folder, assignment, num_nodes=num_nodes)
    except ValidationError as error:
        raise UserError(f"no launcher takes the path {folder.root}", expected="up to 4,096 bytes of UTF-8") from error


def _launch(folder: RunFolder, assignment: Assignment, *, num_nodes: int) -> Launch:
    job = assignment.job
    return Launch(
        name=folder.run_id,
        run_dir=str(folder.root),
        shared_dir=os.path.commonpath([folder.root, Path(job.corpus.path).resolve()]),
        python=sys.executable,
        num_nodes=num_nodes,
        ranks_per_node=job.layout.num_devices // num_nodes,
        threads_per_rank=job.recipe.num_threads or _THREADS_BESIDE_ACCELERATOR,
        needs_accelerators=job.recipe.num_threads == 0,
        wall_seconds=assignment.caps.wall_seconds,
    )

"""Slurm: the script that is submitted, and the little that runs inside a job.

The script is the same for every run but for whole numbers and the run's name: paths reach it as arguments. (A quoted
path in an `#SBATCH` line is still text to Slurm, and a line break in it is still a line.) One task a host watches over
that host's ranks. Slurm warns a job before its time limit and, where it requeues, before preemption; the run then seals
a checkpoint, and goes on as the same run, with one record, when the job starts again.
"""

import os
import subprocess
import sys
from pathlib import Path

from data.durable import write_atomic
from data.errors import UserError
from executor.launch.description import Launch
from executor.launch.environment import clean_environment
from executor.launch.node import MASTER, NODE_RANK, NODES
from executor.launch.ranks import main as run_ranks
from executor.parallel.world import AGAIN

WARNING_SECONDS = 90
"""Before the time limit: a step, an evaluation, a checkpoint. Slurm may be up to 60 s early (sbatch(1), --signal)."""

_MOST_RESTARTS = 1000
# assumption, not measured: Slurm's unit is the minute, and starting takes part of one.
_SPARE_MINUTES = 5

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={num_nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus_per_node}
{gpus}#SBATCH --time={minutes}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@{warning_seconds}
set -u
python=$1 run=$2
{master}="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export {master}
code=0
srun --kill-on-bad-exit=1 "$python" -P -m executor.launch.slurm "$run" || code=$?
if [ "$code" -eq {again} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most_restarts} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def script(launch: Launch) -> str:
    """Return the batch script of a run."""
    gpus = f"#SBATCH --gpus-per-node={launch.ranks_per_node}\n" if launch.needs_accelerators else ""
    return _SCRIPT.format(
        name=launch.name,
        num_nodes=launch.num_nodes,
        cpus_per_node=launch.ranks_per_node * launch.threads_per_rank,
        gpus=gpus,
        minutes=int(launch.wall_seconds // 60) + _SPARE_MINUTES,
        warning_seconds=WARNING_SECONDS,
        master=MASTER,
        again=AGAIN,
        most_restarts=_MOST_RESTARTS,
    )


def submit(launch: Launch) -> int:
    """Submit a run and return the job's number.

    Raises:
        UserError: there is no Slurm here, or it refused.
    """
    written = Path(launch.run_dir) / "slurm.sh"
    write_atomic(written, script(launch).encode("ascii"))
    argv = ["sbatch", "--parsable", f"--chdir={launch.run_dir}", "--output=slurm.log", str(written)]
    argv += [launch.python, launch.run_dir]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=_environment())
    except FileNotFoundError as error:
        raise UserError(
            "no sbatch on this host", expected="a Slurm client", next_step="isoplan run --launcher local"
        ) from error
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdigit():
        raise UserError(
            f"sbatch refused: {done.stderr.strip()[:400]}", next_step="isoplan job RUN --for slurm shows it"
        )
    return int(number)


def _environment() -> dict[str, str]:
    slurm = {name: value for name, value in os.environ.items() if name.startswith("SLURM_CONF")}
    return clean_environment() | slurm


def main() -> int:
    """Be one host's task: tell the ranks what Slurm says, and watch over them."""
    os.environ[NODES] = os.environ.get("SLURM_NNODES", "1")
    os.environ[NODE_RANK] = os.environ.get("SLURM_NODEID", "0")
    if os.environ[NODES] == "1":
        os.environ.pop(MASTER, None)
    return run_ranks()


if __name__ == "__main__":
    sys.exit(main())

"""`isoplan job`: what to hand to whoever starts a run's processes."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tui.output import data, say

if TYPE_CHECKING:
    from executor.launch.description import Launch

KINDS = ("torchrun", "slurm", "kubernetes", "skypilot")


@click.command()
@click.argument("run", required=False)
@click.option("--for", "kind", type=click.Choice(KINDS), required=True, help="Who will start it.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Hosts to spread ranks over.")
@click.option("--master", default="", help="torchrun: the first host's name, where there are several.")
@click.option("--image", default="", help="kubernetes: an image with isoplan in it.")
@click.option("--volume", default="", help="kubernetes: the volume claim that holds the run's folder.")
@click.option("--accelerator", default="", help="skypilot: its name for the accelerator, such as H100.")
def job(run: str | None, kind: str, nodes: int, master: str, image: str, volume: str, accelerator: str) -> None:
    """Print the job file of RUN (default: the newest); `isoplan run PLAN --launcher manual` makes a run to start so."""
    from executor.launch.description import describe
    from executor.paths import Workspace

    root = Workspace(Path.cwd()).find_run(run)
    data(_text(kind, describe(root, num_nodes=nodes), master, image, volume, accelerator))
    say(f"{root.name}: {NEXT[kind]}")


NEXT = {
    "torchrun": "run this on each host; all must see the run's folder",
    "slurm": "isoplan resume RUN --launcher slurm submits it",
    "kubernetes": "kubectl apply -f FILE; the volume must hold the run's folder and its corpus at these paths",
    "skypilot": "sky jobs launch FILE; mount the run's folder and its corpus at these paths",
}


def _text(kind: str, launch: "Launch", master: str, image: str, volume: str, accelerator: str) -> str:
    from executor.launch import cluster_jobs, slurm, torchrun

    match kind:
        case "torchrun":
            return shlex.join(torchrun.command(launch, master=master))
        case "slurm":
            return slurm.script(launch).rstrip()
        case "kubernetes":
            return cluster_jobs.kubernetes(launch, image=image, volume=volume).rstrip()
        case _:
            return cluster_jobs.skypilot(launch, accelerator=accelerator).rstrip()

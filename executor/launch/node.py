"""Which of a run's hosts this one is: set by the Slurm script, the Kubernetes pod or the SkyPilot task."""

from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import UserError
from executor.parallel.world import MANAGED

NODES, NODE_RANK, MASTER = MANAGED, "ISOPLAN_NODE_RANK", "ISOPLAN_MASTER"


@dataclass(frozen=True, slots=True)
class Node:
    """This host among `num_nodes`; ranks meet at `master`, the first of them."""

    rank: int = 0
    num_nodes: int = 1
    master: str = ""


THIS_ONE = Node()


def node(environment: Mapping[str, str]) -> Node:
    """Return what the environment says; this host alone where it says nothing.

    Raises:
        UserError: the numbers are none, or no master is named for several hosts.
    """
    if NODES not in environment:
        return THIS_ONE
    texts = [environment.get(name, "") for name in (NODES, NODE_RANK)]
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise UserError(f"{NODES} is '{texts[0][:20]}', {NODE_RANK} '{texts[1][:20]}'", expected="two whole numbers")
    num_nodes, rank = map(int, texts)
    master = environment.get(MASTER, "")
    if not 0 <= rank < num_nodes or (num_nodes > 1 and not master):
        raise UserError(f"host {rank} of {num_nodes}, master '{master[:60]}'", expected=f"{MASTER}=HOST, hosts from 0")
    return Node(rank=rank, num_nodes=num_nodes, master=master)

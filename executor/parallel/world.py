"""Which of how many processes this one is, by torchrun's environment variables. Needs no torch, so it costs nothing.

torchrun, our own local launcher and the Slurm script all set the same five names; where none is set, this process is
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import UserError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""How often torchrun has started these ranks again; absent where nobody does."""

MANAGED = "ISOPLAN_NODES"
"""Set where someone starts a run's hosts, and starts them again."""

AGAIN = 75
"""The exit code that asks for that: an interruption or an accident (sysexits.h's EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class World:
    """The ranks of a run. `local` counts those on this host.

    `restarts` of torchrun keep the place where ranks leave their addresses, with those of ranks that are gone.
    Managed is a run that Slurm, Kubernetes or SkyPilot starts again when it was interrupted, by the code `AGAIN`.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    is_managed: bool = False
    restarts: int = 0

    @property
    def is_leader(self) -> bool:
        """Whether this rank holds the lock, writes the diaries and the record, and decides about caps."""
        return self.rank == 0


ALONE = World()


def world(environment: Mapping[str, str]) -> World:
    """Return what the environment says.

    Raises:
        UserError: it names only some of the variables, or a rank outside the world.
    """
    is_managed = MANAGED in environment
    if "WORLD_SIZE" not in environment:
        return World(is_managed=is_managed)
    missing = [name for name in NAMES if name not in environment]
    if missing:
        raise UserError(
            f"WORLD_SIZE is set and {', '.join(missing)} is not",
            expected=f"all of {', '.join(NAMES)}, as torchrun sets them, or none",
            next_step="isoplan run starts all ranks itself; isoplan job RUN --for torchrun shows the command",
        )
    rank, size, local_rank, local_size = (_number(environment, name) for name in NAMES[:4])
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(f"rank {rank} of {size}, {local_rank} of {local_size} on this host", expected="ranks from 0 up")
    restarts = _number(environment, RESTARTS) if RESTARTS in environment else 0
    return World(rank, size, local_rank, local_size, is_managed, restarts)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name} is '{text[:40]}'", expected="a whole number")
    return int(text)

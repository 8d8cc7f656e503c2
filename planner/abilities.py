"""What a software stack can do beyond the plain layouts, so that a search offers nothing its framework lacks.

A layout that is given by hand may use all of it: forks and patches exist.
"""

from typing import NamedTuple

from planner.cluster import Offload, Schedule


class Abilities(NamedTuple):
    """Pipeline schedules and kinds of offloading, the plain ones first, and whether attention is flash attention.

    `is_own` marks this library's executor, whose memory is counted tensor by tensor.
    """

    schedules: tuple[Schedule, ...] = ("1f1b",)
    offloads: tuple[Offload, ...] = ("none",)
    has_flash: bool = True
    is_own: bool = False


PLAIN = Abilities()

OWN_STACK = "isoplan"

ABILITIES: dict[str, Abilities] = {
    OWN_STACK: Abilities(is_own=True),
    # Megatron Bridge documentation, "CPU offloading": optimizer states anywhere, activations without a pipeline.
    "megatron-te": Abilities(offloads=("none", "optimizer", "activations")),
    # Megatron-LM before flash attention (Korthikanti et al. 2022; Narayanan et al. 2021).
    "megatron-unfused": Abilities(has_flash=False),
    # torch.distributed.pipelining.ScheduleInterleavedZeroBubble; torch.distributed.fsdp.CPUOffloadPolicy.
    "torch-fsdp2": Abilities(schedules=("1f1b", "zb-h1"), offloads=("none", "optimizer")),
}
"""By stack of `data/catalog/profiles.json`; what is not here has the plain ones."""


def abilities_of(stack: str) -> Abilities:
    """What a search may use under a stack."""
    return ABILITIES.get(stack, PLAIN)

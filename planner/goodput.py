"""How much of the wall time is useful work: failures, restarts and the checkpoints that soften them.

Failures are a Poisson process whose rate grows with the number of nodes. Young's interval, tau = sqrt(2 s M), balances
what a checkpoint holds training up, s, against the work lost (Young 1974); the expected useful share follows the
effective-training-time form of Kokolis et al., arXiv 2410.21680: (1 - rate (restart + tau / 2 + w)) / (1 + s / tau).
The executor saves beside training: s is the copy into host memory. Until the write, w, is through, a failure loses what
came before the copy as well, and no other save begins. Who saves between steps has s = w and loses nothing beside it.
"""

import math
from typing import NamedTuple

FAILURES_PER_NODE_DAY = 6.50e-3
"""Meta RSC-1, 150 M A100-hours (arXiv 2410.21680). Llama 3 405B saw 3.79e-3 per node day on 16,384 H100."""

CLUSTER_RESTART_SECONDS = 600.0
"""Assumption: detect, replace the node, load the checkpoint. 504 B200: median retry 11 min; Llama 3 implies < 8 min."""

CHECKPOINT_BYTES_PER_PARAM = 14.0
"""bf16 weights 2 + fp32 master 4 + Adam 8; BLOOM wrote 13.1 (2.3 TB for 176B)."""

MAX_INTERVAL_SECONDS = 3 * 3600.0
"""No longer than this between checkpoints, whatever the failure rate: what BLOOM used."""


class Goodput(NamedTuple):
    """The useful share of wall time and the checkpoint interval it assumes."""

    useful_fraction: float
    interval_seconds: float
    mean_seconds_between_failures: float
    lost_seconds_per_failure: float


def goodput(
    *,
    num_nodes: int,
    write_seconds: float,
    restart_seconds: float,
    failures_per_node_day: float,
    stall_seconds: float | None = None,
) -> Goodput:
    """Expected useful share of the time after start-up, at Young's checkpoint interval.

    `stall_seconds` is what a checkpoint written beside training holds it up; None: it is written between steps. A
    single machine that is not rented by the hour may have a failure rate of 0: then only the stall costs.
    """
    stall, beside = (write_seconds, 0.0) if stall_seconds is None else (stall_seconds, write_seconds)
    rate = num_nodes * failures_per_node_day / 86400.0
    between = math.inf if rate == 0 else 1.0 / rate
    interval = min(MAX_INTERVAL_SECONDS, max(math.sqrt(2.0 * stall * between), write_seconds))
    lost_per_failure = restart_seconds + interval / 2.0 + beside
    useful = max(0.0, 1.0 - rate * lost_per_failure) / (1.0 + stall / interval)
    return Goodput(useful, interval, between, lost_per_failure)

"""Published measured runs as configurations, for the scripts and tests that fit and check the time model."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maxtext_configs import script_row

from data.errors import UserError
from planner.published_row import Configuration, configuration
from planner.workload import Workload

TABLE = Path(__file__).parents[1] / ".." / "shared" / "data" / "throughput" / "published_train.csv"
FULL_ENOUGH = ("A", "B")  # completeness: every field, or all but the recompute policy
ALL = ("A", "B", "C")  # and those whose missing field has a usual value; without a step time (D) nothing can be checked


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: what it was, where it was published, and the seconds of one step."""

    row: dict[str, str]
    configuration: Configuration
    work: Workload
    step_seconds: float

    @property
    def pair(self) -> tuple[str, str]:
        """Chip and software stack."""
        return self.configuration.cluster.hardware.name, self.configuration.stack

    @property
    def source(self) -> str:
        """The document, without the table inside it, and the chip: one measuring party on one machine."""
        return f"{self.row['source'].split(' : ')[0].split(' @')[0].split('README')[0]}|{self.pair[0]}"

    @property
    def is_dense_16_bit(self) -> bool:
        """Whether the run is a dense model in bf16 or fp16."""
        return self.configuration.shape.moe is None and self.configuration.precision in ("bf16", "fp16")


def runs(path: Path = TABLE, *, completeness: tuple[str, ...] = FULL_ENOUGH) -> Iterator[Run]:
    """Every run of the table that is complete enough and can be understood."""
    with path.open(encoding="utf-8", newline="") as file:
        for printed in csv.DictReader(file):
            row = script_row(printed) or printed
            if row["completeness"] not in completeness or not row["derived_step_time_s"]:
                continue
            with suppress(UserError):
                described = configuration(row)
                if described.is_micro_batch_unknown:
                    continue
                yield Run(row, described, described.work, float(row["derived_step_time_s"]))

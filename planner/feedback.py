"""What finished runs teach about this device: each is one more measured step, of the kind that is planned next."""

from collections.abc import Sequence

from planner.profile import Calibration, StepProbe
from planner.record import RunRecord

MIN_STEPS = 20
"""A shorter run's mean step is mostly its first steps."""


def with_runs(calibration: Calibration, records: Sequence[RunRecord]) -> Calibration:
    """The calibration with one probe more for each run that was long enough."""
    probes = [run_probe(record) for record in records if is_telling(record)]
    return Calibration.model_validate(
        calibration.model_dump(by_alias=True) | {"probes": (*calibration.probes, *probes)}
    )


def is_telling(record: RunRecord) -> bool:
    """Whether a run's mean step says what its steps take: long enough, and in one go."""
    return record.num_steps >= MIN_STEPS and record.num_attempts == 1


def run_probe(record: RunRecord) -> StepProbe:
    """A run as one measured step: the mean, not the median, since a run takes the sum of its steps, slow ones too."""
    return StepProbe(
        shape=record.job.shape,
        seq_len=record.job.recipe.seq_len,
        micro_batch_sequences=record.job.recipe.micro_batch_sequences,
        accumulation_steps=record.job.recipe.accumulation_steps,
        precision=record.job.recipe.precision,
        is_compiled=record.job.recipe.is_compiled,
        step_seconds=record.time.train_seconds / record.num_steps,
        peak_memory_bytes=record.peak_memory_bytes,
    )

"""What finished runs teach about this device: each is one more measured step, of the kind that is planned next."""

from collections.abc import Sequence

from planner.profile import Calibration, StepProbe
from planner.record import RunRecord

MIN_STEPS = 20
"""A shorter run's mean step is mostly its first steps."""


def with_runs(calibration: Calibration, records: Sequence[RunRecord]) -> Calibration:
    """The calibration with one probe more for each run that was long enough.

    A probe holds the mean step, not the median: what a run takes is the sum of its steps, slow moments included.
    """
    probes = [
        StepProbe(
            shape=record.job.shape,
            seq_len=record.job.recipe.seq_len,
            micro_batch_sequences=record.job.recipe.micro_batch_sequences,
            accumulation_steps=record.job.recipe.accumulation_steps,
            precision=record.job.recipe.precision,
            is_compiled=record.job.recipe.is_compiled,
            step_seconds=record.time.train_seconds / record.num_steps,
            peak_memory_bytes=record.peak_memory_bytes,
        )
        for record in records
        if record.num_steps >= MIN_STEPS and record.num_attempts == 1
    ]
    return Calibration.model_validate(
        calibration.model_dump(by_alias=True) | {"probes": (*calibration.probes, *probes)}
    )

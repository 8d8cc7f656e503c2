from planner.feedback import with_runs
from planner.profile import Calibration, MatmulRate
from tests.samples import sample_plan, sample_record


def calibration():
    rate = MatmulRate(rows=64, inner=64, cols=64, precision="fp32", flop_per_s=2e10)
    return Calibration(
        device="local-cpu",
        kind="cpu",
        version="none",
        measured_at="2026-11-26T12:00:00+00:00",
        memory_bytes=8e9,
        memory_bytes_per_s=5e9,
        matmuls=(rate,),
    )


def test_a_finished_run_is_one_more_probe_of_its_own_shape_at_its_mean_step():
    record = sample_record(sample_plan())

    (probe,) = with_runs(calibration(), [record]).probes

    assert probe.shape == record.job.shape
    assert probe.step_seconds == record.time.train_seconds / record.num_steps


def test_a_run_of_few_steps_teaches_nothing():
    record = sample_record(sample_plan(), fraction=0.0005)

    assert with_runs(calibration(), [record]).probes == ()

"""Finished runs of ours as rows of a fit; apart from `planner.law.table`, which needs none of what a record holds."""

import numpy as np

from data.errors import UserError
from planner.law.anneal import Curve
from planner.law.table import RunTable
from planner.law.trajectory import gap_height
from planner.model import num_params
from planner.record import RunRecord


def record_table(record: RunRecord) -> RunTable:
    """One finished run of ours as a table of one row: total parameters, tokens trained, final held-out loss.

    Raises:
        UserError: the run ended without a final loss.
    """
    if record.final_loss is None:
        raise UserError(f"run {record.run_id} has no final loss ({record.state})", expected="a run that finished")
    notes = () if record.state == "done" else (f"run {record.run_id} ended early ({record.state})",)
    return RunTable(
        np.array([float(num_params(record.job.shape))]),
        np.array([float(record.num_tokens)]),
        np.array([record.final_loss]),
        (record.run_id,),
        warnings=notes,
    )


def record_curve(record: RunRecord) -> Curve | None:
    """The evaluations of a finished pretraining run; None where it did not finish or has none on the way."""
    if record.state != "done" or record.final_loss is None or record.job.post is not None:
        return None
    on_the_way = [gate for gate in record.gates if gate.step < record.num_steps]
    if not on_the_way:
        return None
    schedule, steps = record.job.recipe.schedule, record.job.recipe.num_steps
    return Curve(
        N=float(num_params(record.job.shape)),
        num_tokens=float(record.num_tokens),
        num_steps=float(steps),
        final_loss=record.final_loss,
        tokens=np.array([float(gate.num_tokens) for gate in on_the_way]),
        losses=np.array([gate.loss for gate in on_the_way]),
        heights=np.array([gap_height(schedule, num_steps=steps, fraction=g.step / steps) for g in on_the_way]),
    )

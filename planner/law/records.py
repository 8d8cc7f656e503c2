"""Finished runs of ours as rows of a fit; apart from `planner.law.table`, which needs none of what a record holds."""

import numpy as np

from data.errors import UserError
from planner.law.table import RunTable
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

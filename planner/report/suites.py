"""What public task suites said of a run's model."""

from planner.record import RunRecord
from planner.report.document import Column, Row, Section, Table
from planner.suites import Suites, SuiteScore


def suites(record: RunRecord | None) -> Section | None:
    """The section, where suites were run."""
    if record is None or record.suites is None:
        return None
    return Section(key="suites", title="Public tasks", part="details", blocks=(suites_table(record.suites),))


def suites_table(found: Suites) -> Table:
    """Every score with its standard error and what it was measured on."""
    titles = ("Task", "Metric", "Value", "± SE", "Samples", "Shots")
    return Table(
        columns=tuple(Column(title=title, is_number=index > 1) for index, title in enumerate(titles)),
        rows=tuple(_row(score) for score in found.scores),
        note=f"{found.checkpoint}, by {found.harness}. Scores under a limit on samples compare with no published ones.",
    )


def _row(score: SuiteScore) -> Row:
    error = "" if score.standard_error is None else f"{score.standard_error:.4f}"
    samples = str(score.num_samples) if score.limit is None else f"{score.num_samples} (limit {score.limit})"
    shots = "as the task" if score.num_fewshot is None else str(score.num_fewshot)
    return Row(cells=(score.task, score.metric, f"{score.value:.4f}", error, samples, shots))

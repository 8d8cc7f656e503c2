"""What a run's model did when asked for harm, and what the measure means."""

from planner.record import RunRecord
from planner.report.document import Column, Row, Section, Table, Text
from planner.safety import CategoryResult, Safety, wilson

MEANING = (
    "A base model continues text; nothing has taught it to refuse, and not refusing is not yet doing harm. A few"
    " prompts a category compare one model with the next and rate none."
)


def safety(record: RunRecord | None) -> Section | None:
    """The section, where the run's model was asked."""
    if record is None or record.safety is None:
        return None
    return Section(
        key="safety", title="Asked for harm", part="details", blocks=(safety_table(record.safety), Text(text=MEANING))
    )


def safety_table(found: Safety) -> Table:
    """Counts by category with the 95 % Wilson interval of each share."""
    titles = ("Category", "Prompts", "Refused", "", "Unsafe", "")
    return Table(
        columns=tuple(Column(title=title, is_number=index > 0) for index, title in enumerate(titles)),
        rows=tuple(_row(one, has_judged_harm=found.has_judged_harm) for one in found.categories),
        note=(
            f"{found.checkpoint}, {found.decoding}, at most {found.max_tokens} tokens; judge: {found.judge};"
            f" prompts: {found.prompts}, {found.prompts_digest[:12]}. Intervals of the shares: Wilson, 95 %."
        ),
    )


def _row(one: CategoryResult, *, has_judged_harm: bool) -> Row:
    unsafe = _share(one.num_unsafe, one.num_prompts) if has_judged_harm else ("not judged", "")
    status = "warn" if one.num_unsafe else "plain"
    return Row(
        cells=(one.category, str(one.num_prompts), *_share(one.num_refused, one.num_prompts), *unsafe), status=status
    )


def _share(count: int, total: int) -> tuple[str, str]:
    low, high = wilson(count, total)
    return str(count), f"{low:.0%} – {high:.0%}"

"""The report as one value: sections of a few kinds of blocks. Every renderer reads this and nothing else.

Text in a block is already for people; numbers are kept only where a chart must place them. Nothing here is escaped:
that is each renderer's business, and every renderer does it for every string.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from data.text import readable
from data.values import Band, Value

Shown = Annotated[str, AfterValidator(readable)]
"""Text for people. Plans may come from elsewhere, so every string passes `readable`."""

Status = Literal["plain", "good", "warn", "bad"]


class KeyFigure(Value):
    """One big figure: what it is, how much, and the line under it."""

    label: Shown
    text: Shown
    detail: Shown = ""
    status: Status = "plain"


class KeyFigures(Value):
    """A row of big figures."""

    kind: Literal["figures"] = "figures"
    figures: tuple[KeyFigure, ...]


class Column(Value):
    """A table's column; numbers stand to the right."""

    title: Shown
    is_number: bool = False


class Row(Value):
    """A table's row. `total` and `chosen` are set off from the rest; rows with a `weight` are drawn as bars too."""

    cells: tuple[Shown, ...]
    style: Literal["plain", "total", "chosen"] = "plain"
    status: Status = "plain"
    weight: float | None = None


class Table(Value):
    """Rows under columns, and a line below."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: Shown = ""
    is_folded: bool = Field(default=False, description="long: a page shows it when asked")


class Facts(Value):
    """Names and their values, for the engineer's part."""

    kind: Literal["facts"] = "facts"
    items: tuple[tuple[Shown, Shown], ...]


class Text(Value):
    """A paragraph."""

    kind: Literal["text"] = "text"
    text: Shown


class Notices(Value):
    """Things to know, one a line, each with how bad it is."""

    kind: Literal["notices"] = "notices"
    items: tuple[tuple[Status, Shown], ...]


class Commands(Value):
    """Lines to type."""

    kind: Literal["commands"] = "commands"
    lines: tuple[Shown, ...]


class SignOff(Value):
    """Where people sign: a role and who it was, blank where it is still open."""

    kind: Literal["sign-off"] = "sign-off"
    items: tuple[tuple[Shown, Shown], ...]


class CurvePoint(Value):
    """A point of the predicted trajectory."""

    x: float
    band: Band


class Measured(Value):
    """A measured loss and the band predicted for that point."""

    x: float
    loss: float
    band: Band


class LossChart(Value):
    """The predicted held-out loss over tokens, its gates, and what was measured at them."""

    kind: Literal["loss-chart"] = "loss-chart"
    points: tuple[CurvePoint, ...]
    gates: tuple[float, ...]
    actual: tuple[Measured, ...] = ()
    summary: Shown = Field(description="what a reader who does not see the picture needs")


class SizePoint(Value):
    """A size in parameters, and the loss it would end at."""

    x: float
    loss: float


class SizeChart(Value):
    """The predicted final loss over the size of the model, within the same limits, and the chosen size."""

    kind: Literal["size-chart"] = "size-chart"
    points: tuple[SizePoint, ...]
    chosen: float
    summary: Shown


class Strip(Value):
    """One predicted band on a line, with a limit and the actual where there is one. `label_*` are their words."""

    label: Shown
    band: Band
    label_p10: Shown
    label_p50: Shown
    label_p90: Shown
    limit: float | None = None
    label_limit: Shown = ""
    actual: float | None = None
    label_actual: Shown = ""


class BandChart(Value):
    """Several predicted bands, one below the other, each on its own scale."""

    kind: Literal["band-chart"] = "band-chart"
    strips: tuple[Strip, ...]
    summary: Shown


Block = Annotated[
    KeyFigures | Table | Facts | Text | Notices | Commands | SignOff | LossChart | SizeChart | BandChart,
    Field(discriminator="kind"),
]


class Section(Value):
    """A titled part. `summary` sections are the executive's page, `details` the engineer's."""

    key: str = Field(pattern="^[a-z][a-z-]*$")
    title: Shown
    part: Literal["summary", "details"]
    blocks: tuple[Block, ...]


class Report(Value):
    """A plan, or a plan and what became of it."""

    schema_: Literal["isoplan.report/1"] = Field(default="isoplan.report/1", alias="schema")
    title: Shown
    subtitle: Shown
    verdict: Shown
    status: Status
    state: Shown = Field(description="draft, approved, or how the run ended")
    sections: tuple[Section, ...]
    footer: Shown
    is_of_run: bool = Field(default=False, description="whether it tells what became of the plan")

    def section(self, key: str) -> Section:
        """Return one section.

        Raises:
            KeyError: the report has none of that key.
        """
        for section in self.sections:
            if section.key == key:
                return section
        raise KeyError(key)

"""The report as one self-contained HTML page: no script, no network, the same bytes each time."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from planner.report.charts import delta_plot, loss_plot, size_plot, strip_plot
from planner.report.document import Report

TEMPLATE = "page.html.j2"


def render_html(report: Report) -> str:
    """Return the page. Every string is escaped by the template engine."""
    return _template().render(
        report=report, loss_plot=loss_plot, delta_plot=delta_plot, size_plot=size_plot, strip_plot=strip_plot
    )


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)

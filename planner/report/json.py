"""The report value itself as JSON, for whoever renders it elsewhere; the figures' home is plan and record."""

import json

from planner.plan import as_json
from planner.report.document import Report


def render_json(report: Report) -> str:
    """Return the report as indented JSON with its schema."""
    return json.dumps(as_json(report), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

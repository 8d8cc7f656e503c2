"""What the loss charts show: the predicted trajectory with its band, the gates, and what a run measured."""

import math
from collections.abc import Sequence

from executor.events import Gated, Stepped
from planner.plan import Plan, TrajectoryPoint
from planner.report.charts import SHOWN_FRACTION
from tui.widgets.braille import Fill, Line, Mark, Scene

MOST_BANDS = 3.0
"""How far the scale of differences reaches, in times the band's widest part: a short run's warm-up lies twenty times as
far above the plan, and a band drawn to that scale cannot be seen."""


def planned_scene(plan: Plan, *, steps: Sequence[Stepped] = (), gates: Sequence[Gated] = ()) -> Scene:
    """Predicted and measured loss over tokens, from where warm-up is over."""
    points = _shown_points(plan)
    first = points[0].num_tokens
    return Scene(
        lines=[
            Line("plan", [(point.num_tokens, point.loss.p50) for point in points]),
            Line("actual", [(step.num_tokens, step.loss_ema) for step in steps if step.num_tokens >= first]),
        ],
        band=Fill([(point.num_tokens, point.loss.p10, point.loss.p90) for point in points]),
        rules=_gate_tokens(plan),
        marks=[
            Mark(gate.result.num_tokens, gate.result.loss, "actual")
            for gate in gates
            if gate.result.num_tokens >= first
        ],
        is_x_log=True,
    )


def delta_scene(plan: Plan, *, steps: Sequence[Stepped], gates: Sequence[Gated]) -> Scene:
    """Measured less predicted loss: the view in which a band of one per cent can be read."""
    points = _shown_points(plan)
    first = points[0].num_tokens
    known = [step for step in steps if step.planned_loss is not None and step.num_tokens >= first]
    band = [(p.num_tokens, p.loss.p10 - p.loss.p50, p.loss.p90 - p.loss.p50) for p in points]
    reach = MOST_BANDS * max(max(-low, high) for _, low, high in band) or math.inf
    return Scene(
        lines=[
            Line("plan", [(point.num_tokens, 0.0) for point in points]),
            Line("actual", [(step.num_tokens, step.loss_ema - (step.planned_loss or 0.0)) for step in known]),
        ],
        band=Fill(band),
        rules=_gate_tokens(plan),
        marks=[Mark(gate.result.num_tokens, gate.delta, "actual") for gate in gates if gate.result.num_tokens >= first],
        is_x_log=True,
        y_limits=(-reach, reach),
    )


def measured_scene(steps: Sequence[Stepped]) -> Scene | None:
    """The measured loss alone, for a run that no plan promised anything for."""
    if len(steps) < 2:
        return None
    return Scene(lines=[Line("actual", [(step.num_tokens, step.loss_ema) for step in steps])], is_x_log=True)


def _shown_points(plan: Plan) -> list[TrajectoryPoint]:
    trajectory = plan.predicted.trajectory
    return [point for point in trajectory if point.num_tokens >= SHOWN_FRACTION * trajectory[-1].num_tokens]


def _gate_tokens(plan: Plan) -> list[float]:
    return [float(plan.recipe.tokens_after(gate.step)) for gate in plan.gates]

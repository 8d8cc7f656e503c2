"""What the residual chart shows: every run by its compute, the law as the zero line, and the scatter of a run."""

from planner.law.base import FLOP_PER_PARAM_TOKEN
from tui.fitting import Fitting
from tui.widgets.braille import Fill, Line, Mark, Scene

BAND_SD = 2.0


def residual_scene(fitting: Fitting, *, chosen: str | None) -> Scene | None:
    """Residuals over C = 6ND; the run under the cursor stands out. None where the fit lists no runs."""
    fit, runs = fitting.fit, fitting.runs
    if fit is None or not fitting.residual_of:
        return None
    compute = dict(zip(runs.ids, (FLOP_PER_PARAM_TOKEN * runs.N * runs.D).tolist(), strict=True))
    known = {name: residual for name, residual in fitting.residual_of.items() if name in compute}
    if not known:
        return None
    xs = [compute[name] for name in known]
    ends = (min(xs) / 1.1, max(xs) * 1.1)
    half = BAND_SD * fit.noise_log_sd
    marks = [Mark(compute[name], value, "plan") for name, value in known.items() if name != chosen]
    if chosen in known:
        marks.append(Mark(compute[chosen], known[chosen], "actual"))
    return Scene(
        lines=[Line("plan", [(x, 0.0) for x in ends])],
        band=Fill([(x, -half, half) for x in ends]),
        marks=marks,
        is_x_log=True,
    )

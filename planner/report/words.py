"""How figures of plans and records read: one function for each, used by reports, commands and screens alike."""

import shlex
from collections.abc import Callable, Sequence

from data.source import Source
from data.units import show_count, show_delta, show_fraction, show_seconds, show_usd
from data.values import Band
from planner.compare import Comparison, Scored
from planner.health import PLANNED
from planner.model import num_active_params
from planner.plan import Alternative, Plan, PlannedLaw, PlannedModel
from planner.request import LOCAL, Request

SHARED_BY = 3
"""A clause in this many notes is said once for all."""

TELLING_WAIT = 0.1
"""What a run waited for a processor is worth a line from this share of its time on (a choice of this tool)."""

FLAGS = {
    "name": "--name",
    "budget_usd": "--budget",
    "deadline_seconds": "--deadline",
    "target_loss": "--target-loss",
    "model": "--model",
    "num_params": "--params",
    "num_tokens": "--tokens",
    "hardware": "--hardware",
    "profile": "--profile",
    "num_devices": "--num-devices",
    "price_usd_per_device_hour": "--price",
    "provider": "--provider",
    "tier": "--tier",
    "law": "--law",
    "corpus": "--corpus",
    "unique_tokens": "--unique-tokens",
    "max_epochs": "--max-epochs",
    "moe": "--moe",
    "inference_tokens": "--inference-tokens",
    "vocab_size": "--vocab-size",
    "seq_len": "--seq-len",
    "precision": "--precision",
    "optimiser": "--optimiser",
    "probe_items": "--probe-items",
    "gate_fraction": "--gate-every",
    "min_tokens_per_param": "--min-tokens-per-param",
    "author": "--author",
    "seed": "--seed",
}
"""The option of `isoplan plan` that sets each field of a request."""

Show = Callable[[float], str]


def show_headline_usd(value: float) -> str:
    """Return dollars as one says them: $1.81M, $85.8k, $2,273. Tables of costs keep every one."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            shown = abs(value) / (1e3 if letter == "k" else size)
            return f"{'-' if value < 0 else ''}${shown:,.3g}{letter}" if shown < 1000 else show_usd(value)
    return f"{'-' if value < 0 else ''}${abs(value):,.0f}" if abs(value) >= 1000 else show_usd(value)


def show_chance(probability: float) -> str:
    """Return a probability from simulated draws: 9.8 %; what no draw or every draw shows is a bound."""
    if probability < 0.001:
        return "below 0.1 %"
    return "above 99.9 %" if probability > 0.999 else show_fraction(probability)


def title(plan: Plan) -> str:
    """Return the request's name, or what is trained where it was left at its default."""
    name = plan.request.name
    if name != Request.model_fields["name"].default:
        return name
    return f"Pretraining a {show_count(plan.model.num_params)} model"


def is_whole_budget(plan: Plan) -> bool:
    """Whether the plan costs more than its run alone."""
    return plan.economics is not None and len(plan.economics.lines) > 1


def show_loss(value: float) -> str:
    """Return a loss in nats per token to three decimals: 2.687."""
    return f"{value:.3f}"


def show_band(band: Band, show: Show) -> str:
    """Return a prediction with its P10 and P90: 2.687 (2.662 – 2.712); a band of no width is its one figure."""
    if band.p10 == band.p90:
        return show(band.p50)
    return f"{show(band.p50)} ({show(band.p10)} – {show(band.p90)})"


def show_percentile(percentile: float | None) -> str:
    """Return where an actual lies in its prediction: P68, or <P1 and >P99 in the tails."""
    if percentile is None:
        return "not scored"
    if not 0.01 <= percentile <= 0.99:
        return "<P1" if percentile < 0.5 else ">P99"
    return f"P{percentile * 100:.0f}"


def show_change(delta_fraction: float | None) -> str:
    """Return a relative change with its sign, or a dash where there is nothing to relate to."""
    return "–" if delta_fraction is None else show_delta(delta_fraction)


def place(score: Scored) -> str:
    """Return where a scored actual lies, in words: within P10–P90 (P68)."""
    if score.percentile is None:
        return "not scored, the run is unfinished"
    where = (
        "within P10–P90" if score.is_within_band else ("below P10" if score.actual < score.plan.p10 else "above P90")
    )
    return f"{where} ({show_percentile(score.percentile)})"


def devices(plan: Plan) -> str:
    """Return what the run needs: 8 × h100-sxm."""
    return f"{plan.hardware.num_devices} × {plan.hardware.name}"


def parameters(model: PlannedModel) -> str:
    """Return the size of the model: 1.20B parameters; with experts, also how much of it a token visits."""
    size = f"{show_count(model.num_params)} parameters"
    moe = model.shape.moe
    if moe is None:
        return size
    return f"{size} in {moe.num_experts} experts a layer, {show_count(num_active_params(model.shape))} active,"


def plan_verdict(plan: Plan) -> str:
    """Return the plan in one sentence."""
    predicted = plan.predicted
    return (
        f"Train {parameters(plan.model)} on {show_count(plan.data.num_tokens)} tokens"
        f" with {devices(plan)}: held-out loss {show_band(predicted.loss, show_loss)},"
        f" {show_headline_usd(predicted.cost_usd.p50)} under a cap of {show_headline_usd(plan.caps.cost_usd)},"
        f" {show_seconds(predicted.wall_seconds.p50)}.{_whole(plan)} Limited by: {plan.binding.constraint}."
    )


def _whole(plan: Plan) -> str:
    if plan.economics is None or not is_whole_budget(plan):
        return ""
    total, budget = plan.economics.total_usd, plan.request.budget_usd
    of_budget = "" if budget is None else f" of a budget of {show_headline_usd(budget)}"
    return f" The whole project: {show_band(total, show_headline_usd)}{of_budget}."


def run_verdict(score: Comparison) -> str:
    """Return in one sentence how the run did against the plan."""
    parts = [] if score.loss is None else [_against("loss", score.loss, show_loss)]
    if score.verdict == "unfinished":
        done = f"{score.tokens_done_fraction * 100:.0f} % of the tokens"
        spent = f"{show_usd(score.cost_usd.actual)} in {show_seconds(score.wall_seconds.actual)}"
        reason = f" ({score.reason})" if score.reason else ""
        return f"{score.run_id} ended {score.state} after {done}{reason}, having spent {spent}."
    parts += [_against("cost", score.cost_usd, show_usd), _against("time", score.wall_seconds, show_seconds)]
    ending = "All within the predicted band." if score.verdict == "as planned" else "Not all within the predicted band."
    return f"{score.run_id}: {'; '.join(parts)}. {ending}"


def lessons(score: Comparison) -> tuple[str, ...]:
    """Return what the run teaches, one sentence a line."""
    step = score.step_seconds
    lines = [
        f"A step took {show_seconds(step.actual)}, planned {show_seconds(step.plan.p50)}"
        f" ({show_change(step.delta_fraction)}); MFU {score.mfu.actual:.3f}, planned {score.mfu.plan:.3f}.",
        f"{score.gates_within_band} of {score.num_gates} evaluations lay within their predicted band.",
    ]
    if score.waiting_fraction >= TELLING_WAIT:
        lines.append(f"{score.waiting_fraction:.0%} of the time was waiting for a processor that others had.")
    if score.loss is not None and score.loss.percentile is not None:
        lines.append(f"The final loss lay {place(score.loss)}.")
    lines.append(f"isoplan fit --add {score.run_id} adds this run to the next fit.")
    return tuple(lines)


def show_source(source: Source) -> str:
    """Return where a figure comes from and when it was read."""
    note = f" ({source.note})" if source.note else ""
    return f"{source.url}, read {source.accessed}{note}"


def reach(law: PlannedLaw) -> str:
    """Return how far the plan goes beyond what its law was fitted on."""
    if law.extrapolation_ratio is None:
        return "the range of the fit was not published"
    if law.extrapolation_ratio <= 1:
        return "within the compute it was fitted on"
    return f"{law.extrapolation_ratio:.3g} times the largest compute it was fitted on"


def shared_clauses(alternatives: Sequence[Alternative]) -> tuple[str, ...]:
    """Return the clauses that several notes repeat where no loss is predicted; they are said once, below the table."""
    unpredicted = [one for one in alternatives if one.loss_p50 is None]
    clauses = [clause for one in unpredicted for clause in dict.fromkeys(one.note.split("; "))]
    return tuple(dict.fromkeys(clause for clause in clauses if clauses.count(clause) >= SHARED_BY))


def own_note(alternative: Alternative, shared: Sequence[str]) -> str:
    """Return an alternative's note without what is said once for all."""
    return "; ".join(clause for clause in alternative.note.split("; ") if clause not in shared)


def plan_command(request: Request, *, has_devices: bool = True) -> str:
    """Return the command line that asks this request again; its scope, where it has one, is a file the user keeps.

    The command searches for a number of devices where none is given: it is left out where `has_devices` is off, and
    where there is only this machine.
    """
    words = ["isoplan", "plan"]
    is_counted = has_devices and request.hardware != LOCAL
    for field, flag in FLAGS.items():
        value = getattr(request, field)
        is_said = is_counted if field == "num_devices" else value != Request.model_fields[field].default
        if value is True:
            words.append(flag)
        elif value is not None and is_said:
            words += [flag, shlex.quote(f"{value!r}s" if field == "deadline_seconds" else str(value))]
    words += [part for chosen in request.choices.words for part in ("--recipe", chosen)]
    for name in ("on_spike", "on_nonfinite", "on_regression"):
        if (chosen := getattr(request.health, name)) != getattr(PLANNED, name):
            words += [f"--{name.replace('_', '-')}", chosen]
    scope = ("--scope", "SCOPE.toml") if request.scope is not None else ()
    return " ".join((*words, *scope))


def _against(name: str, score: Scored, show: Show) -> str:
    change = f"{show_change(score.delta_fraction)}, {show_percentile(score.percentile)}"
    return f"{name} {show(score.actual)}, planned {show(score.plan.p50)} ({change})"

"""The engineer's page: everything that was decided, and where each figure comes from."""

from collections.abc import Mapping, Sequence

from data.units import (
    show_bytes,
    show_count,
    show_energy,
    show_flop,
    show_flop_per_s,
    show_fraction,
    show_seconds,
    show_usd,
)
from planner.approval import Approval
from planner.model import ModelShape, num_active_params
from planner.plan import CostLine, Plan
from planner.recipe import Gate
from planner.record import GateResult, RunRecord
from planner.report.document import Block, Column, Commands, Facts, Row, Section, Status, Table
from planner.report.words import plan_command, reach, show_band, show_loss, show_source

MAX_GATES = 20


def gates(plan: Plan, record: RunRecord | None) -> Section:
    """The planned evaluations and, once there is a record, what they measured."""
    results = {result.step: result for result in record.gates} if record else {}
    stakes = {stake.step: stake.usd_at_risk for stake in plan.economics.gate_stakes} if plan.economics else {}
    titles = (
        *("Step", "Tokens", "Loss expected (P10 – P90)", "Stops above"),
        *(("At stake",) if stakes else ()),
        *(("Actual",) if record else ()),
    )
    table = Table(
        columns=tuple(Column(title=title, is_number=True) for title in titles),
        rows=tuple(
            _gate_row(plan, gate, results.get(gate.step), stakes, has_record=record is not None)
            for gate in _shown_gates(plan.gates, results)
        ),
        note=_gates_note(plan),
    )
    return _section("gates", "Evaluations and stop rules", table)


def law(plan: Plan) -> Section:
    """The scaling law behind the loss."""
    used = plan.law
    return _section(
        "law",
        "Scaling law",
        Facts(
            items=(
                ("Law", f"{used.name}, of the form {used.form}"),
                ("Status of the fit", used.status),
                ("Parameters counted", used.n_convention),
                ("Reach", reach(used)),
                ("Predicted loss", show_band(plan.predicted.loss, show_loss)),
                ("Source", show_source(used.source)),
            )
        ),
        Table(
            columns=(
                Column(title="Constant"),
                Column(title="Value", is_number=True),
                Column(title="SE", is_number=True),
            ),
            rows=tuple(
                Row(cells=(constant.name, f"{constant.value:.6g}", _number(constant.standard_error)))
                for constant in used.parameters
            ),
        ),
    )


def model(plan: Plan) -> Section:
    """The shape of the model and its compute."""
    shape, counts, compute = plan.model.shape, plan.model, plan.compute
    heads = f"{shape.num_heads} heads of {shape.head_dim}, {shape.num_kv_heads} for keys and values"
    return _section(
        "model",
        "Model",
        Facts(
            items=(
                ("Layers and width", f"{shape.num_layers} layers, {shape.width} wide, feed-forward {shape.ffn_width}"),
                ("Attention", f"{heads}; {shape.attention.kind.replace('_', ' ')}"),
                ("Feed-forward", f"{shape.mlp}, {experts(shape)}" if shape.moe else shape.mlp),
                ("Vocabulary", f"{shape.vocab_size:,}, head {'tied' if shape.is_head_tied else 'apart'}"),
                ("Parameters, all", f"{counts.num_params:,}"),
                ("Parameters, without embedding", f"{counts.num_params_non_embedding:,}"),
                ("Parameters, in matrix products", f"{counts.num_params_matmul:,}"),
                *((("Parameters a token visits", f"{num_active_params(shape):,}"),) if shape.moe else ()),
                ("Training compute, exact", show_flop(compute.total_flop)),
                ("Training compute, 6ND", show_flop(compute.six_nd_flop)),
            )
        ),
    )


def experts(shape: ModelShape) -> str:
    """Return what stands in place of the feed-forward: 8 experts of 1024, 1 a token; nothing for a dense model."""
    moe = shape.moe
    if moe is None:
        return ""
    return f"{moe.num_experts} experts of {moe.expert_ffn_width}, {moe.experts_per_token} a token"


def training(plan: Plan) -> Section:
    """The recipe."""
    recipe, optimiser, schedule = plan.recipe, plan.recipe.optimiser, plan.recipe.schedule
    rate = f"{optimiser.peak_lr:g}; warm-up {schedule.warmup_steps:,} steps, {schedule.kind}"
    return _section(
        "training",
        "Training",
        Facts(
            items=(
                ("Steps", f"{recipe.num_steps:,} of {show_count(recipe.tokens_per_step)} tokens"),
                ("Batch", f"{recipe.sequences_per_step} sequences of {recipe.seq_len} tokens"),
                ("Optimiser", f"{optimiser.kind}, betas {optimiser.beta1:g} and {optimiser.beta2:g}"),
                ("Weight decay, clip", f"{optimiser.weight_decay:g}, {optimiser.clip_norm:g}"),
                ("Learning rate", f"{rate}, decay {schedule.decay_steps:,} steps"),
                ("Precision", f"{recipe.precision}{', compiled' if recipe.is_compiled else ''}"),
                ("Checkpoint every", f"{recipe.checkpoint_every_steps:,} steps"),
                ("Seed", str(recipe.seed)),
            )
        ),
    )


def machine(plan: Plan) -> Section:
    """The devices, the layout and the predicted step."""
    hardware, layout, predicted = plan.hardware, plan.layout, plan.predicted
    axes = f"dp {layout.dp}, tp {layout.tp}, pp {layout.pp}, cp {layout.cp}, ep {layout.ep}"
    return _section(
        "machine",
        "Machine and step",
        Facts(
            items=(
                ("Devices", f"{hardware.num_devices} × {hardware.name}"),
                ("Peak of one", show_flop_per_s(hardware.peak_flop_per_s)),
                ("Profile", hardware.profile),
                ("Layout", f"{axes}; sharding {layout.sharding}, recompute {layout.recompute}"),
                ("Time per step", show_band(predicted.step_seconds_band, show_seconds)),
                ("Tokens per second", show_count(predicted.tokens_per_second)),
                ("MFU", f"{predicted.mfu:.3f}, bound by {predicted.bound_by}"),
                ("Memory", f"{show_bytes(predicted.memory_bytes)} of {show_bytes(predicted.memory_limit_bytes)}"),
                ("Energy", show_energy(predicted.energy_joules)),
                ("Useful share of time", show_fraction(predicted.goodput_fraction)),
                ("Source", show_source(hardware.source)),
            )
        ),
    )


def corpus(plan: Plan) -> Section:
    """The text."""
    data = plan.data
    unique = "unknown" if data.unique_tokens is None else show_count(data.unique_tokens)
    items = [("Tokens", f"{data.num_tokens:,}"), ("Distinct tokens at hand", unique)]
    if data.num_epochs is not None:
        items.append(("Epochs", f"{data.num_epochs:.3g}"))
    if data.summary:
        items.append(("Text", data.summary))
    if data.corpus is None:
        items.append(("Corpus", "not built yet: this plan cannot run"))
    else:
        items += [("Corpus", data.corpus.path), ("Manifest digest", data.corpus.digest)]
    if data.knowledge_cutoff is not None:
        items.append(("Knowledge ends", f"{data.knowledge_cutoff}"))
    return _section("corpus", "Data", Facts(items=tuple(items)))


def assumptions(plan: Plan) -> Section:
    """The figures that were taken, not derived: what each is, where it comes from and of which day."""
    price, used = plan.price, plan.hardware
    rows = [
        ("Price of a device-hour", show_usd(price.usd_per_device_hour), show_source(price.source), str(price.as_of)),
        ("MFU of a step", f"{plan.predicted.mfu:.3f}", used.profile, str(used.source.accessed)),
        ("Scaling law", plan.law.name, show_source(plan.law.source), str(plan.law.source.accessed)),
        ("Useful share of time", show_fraction(plan.predicted.goodput_fraction), "failures, checkpoints, restarts", ""),
    ]
    if plan.economics is not None:
        known, emitted = plan.economics, plan.economics.emissions
        doomed = show_fraction(known.gate_spacing.doomed_probability)
        rows += [
            *((line.name, line.formula, show_source(line.source), str(line.as_of)) for line in known.lines[1:]),
            ("A run not worth finishing", doomed, "stated, or 10 % assumed", ""),
            ("Electricity", f"${emitted.usd_per_kwh:g}/kWh, {emitted.region}", emitted.source.note, ""),
            ("Carbon", f"{emitted.gco2_per_kwh:.0f} g/kWh", show_source(emitted.source), str(emitted.year)),
        ]
    titles = ("Assumption", "Value", "From", "As of")
    table = Table(columns=tuple(Column(title=title) for title in titles), rows=tuple(Row(cells=row) for row in rows))
    return _section("assumptions", "Assumptions", table)


def provenance(plan: Plan, approval: Approval | None, record: RunRecord | None) -> Section:
    """Digests, versions and sources."""
    items = [
        ("Plan", plan.id),
        ("Plan digest, sha256", plan.digest),
        ("Made by code", plan.code_version),
        ("Law digest", plan.law.digest),
        ("Hardware digest", plan.hardware.digest),
        ("Price", f"{plan.price.key}: {show_usd(plan.price.usd_per_device_hour)}/h as of {plan.price.as_of}"),
        ("Price source", show_source(plan.price.source)),
    ]
    if approval is not None:
        items.append(("Approval nonce", approval.statement.nonce))
    if record is not None:
        items += [("Run", record.run_id), ("Run by code", record.code_version), ("Run on", record.device)]
        items.append(("Last checkpoint", record.checkpoint or "none"))
    formulas = Table(
        columns=(
            Column(title="Cost line"),
            Column(title="Quantity", is_number=True),
            Column(title="Rate", is_number=True),
            Column(title="US dollars", is_number=True),
            Column(title="Formula"),
        ),
        rows=tuple(map(_formula_row, plan.cost_lines)),
    )
    return _section("provenance", "Provenance", Facts(items=tuple(items)), formulas)


def reproduce(plan: Plan, record: RunRecord | None) -> Section:
    """What to type to get the same again."""
    after = (f"isoplan compare {record.run_id}",) if record else ()
    lines = (plan_command(plan.request), f"isoplan review {plan.id}", f"isoplan verify {plan.id}", *after)
    return _section("reproduce", "Commands", Commands(lines=lines))


def _formula_row(line: CostLine) -> Row:
    quantity = "–" if line.quantity is None else f"{line.quantity:,.6g} {line.unit}"
    rate = "–" if line.usd_per_unit is None else show_usd(line.usd_per_unit)
    return Row(cells=(line.name, quantity, rate, show_usd(line.usd), line.formula))


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"


def _section(key: str, title: str, *blocks: Block) -> Section:
    return Section(key=key, title=title, part="details", blocks=blocks)


def _shown_gates(gates: Sequence[Gate], results: Mapping[int, GateResult]) -> list[Gate]:
    """At most about `MAX_GATES` of them, evenly, the last always; a measured one outside its band is never left out."""
    every = -(-len(gates) // MAX_GATES)
    last = len(gates) - 1
    return [
        gate
        for index, gate in enumerate(gates)
        if (last - index) % every == 0 or (gate.step in results and not results[gate.step].is_within_band)
    ]


def _gates_note(plan: Plan) -> str:
    recipe = plan.recipe
    scored = f"Each evaluation scores {recipe.eval_sequences} held-out sequences of {recipe.seq_len} tokens."
    if len(plan.gates) > MAX_GATES:
        scored = f"Some of {len(plan.gates)} evaluations; the plan file has all. {scored}"
    if plan.economics is None:
        return scored
    spacing = plan.economics.gate_spacing
    return (
        f"{scored} One every {show_fraction(spacing.planned_fraction)} of training, {show_usd(spacing.gate_usd)} each;"
        f" with a doomed run as likely as {show_fraction(spacing.doomed_probability)}, every"
        f" {show_fraction(spacing.best_fraction)} would cost least. At stake: what is spent until the next one."
    )


def _gate_row(plan: Plan, gate: Gate, result: GateResult | None, stakes: dict[int, float], *, has_record: bool) -> Row:
    band = f"{show_loss(gate.loss_p50)} ({show_loss(gate.loss_p10)} – {show_loss(gate.loss_p90)})"
    stop = "–" if gate.stop_above_loss is None else show_loss(gate.stop_above_loss)
    actual = (show_loss(result.loss) if result else "not reached",) if has_record else ()
    status: Status = "plain" if result is None else "good" if result.is_within_band else "warn"
    tokens = show_count(plan.recipe.tokens_after(gate.step))
    stake = (show_usd(stakes.get(gate.step, 0.0)),) if stakes else ()
    return Row(cells=(f"{gate.step:,}", tokens, band, stop, *stake, *actual), status=status)

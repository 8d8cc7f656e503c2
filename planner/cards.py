"""Drafts of a model card and a datasheet, filled from the plan, the record and the corpus; the rest is left to write.

The headings follow Mitchell et al. 2019 (model cards) and Gebru et al. 2021 (datasheets). What a person must say stands
as "to be written", so that a draft cannot pass for a finished card.
"""

from collections.abc import Iterable, Iterator

from data.corpus.manifest import Manifest
from data.units import JOULES_PER_KWH, show_count, show_energy, show_flop, show_seconds, show_usd
from planner.plan import Plan
from planner.record import RunRecord
from planner.report.markdown import escape

TO_WRITE = "*to be written*"
Rows = Iterable[tuple[str, str]]


def model_card(plan: Plan, record: RunRecord | None = None) -> str:
    """A Markdown draft of the card; figures are measured where there is a record, planned and so marked where not."""
    sections: tuple[tuple[str, Rows], ...] = (
        ("Model", _model(plan)),
        ("Intended use", [("uses", TO_WRITE), ("out of scope", TO_WRITE), ("people affected", TO_WRITE)]),
        ("Training data", _data(plan)),
        ("Training", _training(plan, record)),
        ("Evaluation", _evaluation(plan, record)),
        ("Energy and emissions", _energy(plan, record)),
        ("Limits and risks", _limits(plan)),
        ("Licence and contact", [("licence", TO_WRITE), ("contact", TO_WRITE)]),
    )
    state = f"run {record.run_id}, {record.state}" if record else "planned, not trained"
    return _page(f"Model card draft: {plan.request.name}", f"{state}; plan {plan.id}", sections)


def datasheet(manifest: Manifest) -> str:
    """A Markdown draft of the corpus's datasheet."""
    licences: dict[str, int] = {}
    for source in manifest.sources:
        for share in source.licences:
            licences[share.licence] = licences.get(share.licence, 0) + share.num_tokens
    sections: tuple[tuple[str, Rows], ...] = (
        ("Motivation", [("purpose", TO_WRITE), ("made by", TO_WRITE), ("funded by", TO_WRITE)]),
        ("Composition", _composition(manifest)),
        ("Sources", ((source.label, _source(source.num_tokens, source.dated_until)) for source in manifest.sources)),
        ("Licences", ((name or "not stated", f"{show_count(count)} tokens") for name, count in licences.items())),
        ("Removed", _removed(manifest)),
        (
            "Masked",
            [(count.kind, f"{count.count:,} pieces") for count in manifest.masked] or [("nothing", "not asked")],
        ),
        ("Consent, uses, maintenance", [("consent", TO_WRITE), ("uses", TO_WRITE), ("maintainer", TO_WRITE)]),
    )
    return _page("Datasheet draft", f"corpus {manifest.digest[:12]}", sections)


def _model(plan: Plan) -> Iterator[tuple[str, str]]:
    shape = plan.model.shape
    yield "parameters", f"{show_count(plan.model.num_params)} ({plan.model.num_params:,})"
    yield "shape", f"{shape.num_layers} layers, width {shape.width}, {shape.num_heads} heads, {shape.vocab_size} ids"
    yield "context", f"{plan.recipe.seq_len} tokens"
    yield "made with", f"isoplan {plan.code_version}"


def _data(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "tokens", f"{show_count(plan.data.num_tokens)}, {plan.data.num_epochs or 1:.3g} times the distinct ones"
    yield "corpus", plan.data.corpus.digest if plan.data.corpus else "none named"
    yield "contents", plan.data.summary
    yield "knowledge cut-off", str(plan.data.knowledge_cutoff or "not known")


def _training(plan: Plan, record: RunRecord | None) -> Iterator[tuple[str, str]]:
    said = "measured" if record else "planned"
    flop = record.total_flop if record else plan.compute.total_flop
    seconds = record.wall_seconds if record else plan.predicted.wall_seconds.p50
    usd = record.cost_usd if record else plan.predicted.cost_usd.p50
    hardware = record.device if record else f"{plan.rates.num_devices} x {plan.hardware.name}"
    yield "compute", f"{show_flop(flop)} ({said}; forward and backward, causal attention, head counted)"
    yield "time", f"{show_seconds(seconds)} ({said})"
    yield "cost", f"{show_usd(usd)} ({said}; {plan.economics.scope if plan.economics else 'the final run only'})"
    yield "hardware", hardware


def _evaluation(plan: Plan, record: RunRecord | None) -> Iterator[tuple[str, str]]:
    band = plan.predicted.loss
    yield "held-out loss, predicted", f"{band.p50:.4f} ({band.p10:.4f} to {band.p90:.4f}) nats per token"
    if record and record.final_loss is not None:
        yield "held-out loss, measured", f"{record.final_loss:.4f} nats per token"
    if record and record.suites:
        for score in record.suites.scores:
            yield f"{score.task}, {score.metric}", f"{score.value:.4f} on {score.num_samples} ({record.suites.harness})"
    if record and record.safety:
        for one in record.safety.categories:
            yield f"asked for {one.category}", f"{one.num_refused} of {one.num_prompts} refused ({record.safety.judge})"
    yield "benchmarks, safety, bias", TO_WRITE


def _energy(plan: Plan, record: RunRecord | None) -> Iterator[tuple[str, str]]:
    joules = record.energy_joules if record else plan.predicted.energy_joules
    yield "energy", f"{show_energy(joules)} ({'from the measured time' if record else 'planned'}; device power assumed)"
    if plan.economics:
        found = plan.economics.emissions
        kg = joules / JOULES_PER_KWH * found.gco2_per_kwh / 1000.0
        yield "CO2", f"{kg:,.3g} kg at {found.gco2_per_kwh:.0f} g/kWh ({found.region}, {found.year})"
        yield "boundary", found.boundary


def _limits(plan: Plan) -> Iterator[tuple[str, str]]:
    for warning in plan.warnings:
        yield "known", warning
    if plan.governance:
        for one in plan.governance.thresholds:
            if one.is_crossed and one.in_force:
                yield "threshold crossed", f"{one.regime}: {one.obligation}"
    yield "what it must not be used for", TO_WRITE


def _composition(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for name, split in (("training", manifest.train), ("held out", manifest.heldout)):
        yield name, f"{show_count(split.num_tokens)} tokens in {split.num_documents:,} documents"
    yield "vocabulary", f"{manifest.vocab_size} ids"
    yield "latest date", manifest.cutoff.latest or "not known"
    yield "without a date", f"{manifest.cutoff.undated_fraction:.0%} of the tokens"


def _removed(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        (f"{one.stage}: {one.reason}", f"{one.num_documents:,} documents of {one.domain or 'all'}")
        for one in manifest.removed
    ] or [("nothing", "no filter removed anything")]


def _source(num_tokens: int, dated_until: str) -> str:
    return f"{show_count(num_tokens)} tokens, dated until {dated_until or 'not known'}"


def _page(title: str, subtitle: str, sections: Iterable[tuple[str, Rows]]) -> str:
    parts = [f"# {escape(title)}\n\n{escape(subtitle)}"]
    for heading, rows in sections:
        lines = [f"- {escape(name)}: {value if value == TO_WRITE else escape(value)}" for name, value in rows]
        parts.append(f"## {heading}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"

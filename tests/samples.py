"""A realistic plan and its record for tests: 0.5B parameters on 12.4B tokens, 8 x H100, figures that agree."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from data.canonical import Json, canonical_bytes
from data.source import Source
from data.values import Band
from executor.events import Checkpointed, Ended, EventLog, Gated, Ready, Spent, Started, Stepped
from planner.approval import Approval, Statement, inputs_of
from planner.cluster import Layout
from planner.model import ModelShape, flop_per_token, num_params
from planner.plan import (
    Alternative,
    Binding,
    CostLine,
    LawParameter,
    Plan,
    PlannedCompute,
    PlannedData,
    PlannedHardware,
    PlannedLaw,
    PlannedModel,
    PlannedPrice,
    Predicted,
    TrajectoryPoint,
    as_json,
    seal,
)
from planner.recipe import (
    Caps,
    CorpusRef,
    Gate,
    Optimiser,
    Rates,
    Recipe,
    Schedule,
    mfu,
    run_cost_usd,
    run_energy_joules,
)
from planner.record import GateResult, RunRecord, RunState, TimeSpent
from planner.request import Request

MADE = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
PEAK_FLOP_PER_S = 989.4e12
STEP_SECONDS = 0.4561
BYTES_PER_TOKEN = 4.2
SAMPLE_DELTA = 0.011
SHAPE = ModelShape(
    num_layers=18, width=1408, num_heads=11, num_kv_heads=11, head_dim=128, ffn_width=3840, vocab_size=32768
)
RECIPE = Recipe(
    seq_len=2048,
    micro_batch_sequences=16,
    accumulation_steps=2,
    num_data_parallel=8,
    num_steps=23641,
    optimiser=Optimiser(peak_lr=1.2e-3),
    schedule=Schedule(warmup_steps=500, decay_steps=4700),
    precision="bf16",
    is_compiled=True,
    eval_sequences=256,
    checkpoint_every_steps=500,
    seed=7,
)
RATES = Rates(num_devices=8, usd_per_device_hour=2.50, device_watts=956.0, pue=1.1)
GATES_AT = (2364, 4728, 7092, 9456, 11820, 14184, 16548, 18912, 21276, 23641)


def loss_after(num_tokens: float) -> Band:
    """A plausible trajectory; its band narrows as the run goes on."""
    decayed = min(1.0, max(0.0, num_tokens / 1e10 - 1.0) / 0.24)
    middle = 1.817 + 0.41 + 2.6 * (num_tokens / 1e8) ** -0.366 * (1 - 0.08 * decayed)
    half = 0.025 + 0.05 * math.exp(-num_tokens / 3e9)
    return Band(p10=middle - half, p50=middle, p90=middle + half)


def sample_plan(changes: Mapping[str, Json] | None = None) -> Plan:
    """The sample, with fields replaced by dotted path: `{"request.name": "other"}`; sealed again."""
    document: Json = as_json(_plan())
    for path, value in (changes or {}).items():
        *parents, leaf = path.split(".")
        target: Json = document
        for parent in parents:
            target = target[int(parent)] if isinstance(target, list) else target[parent]  # type: ignore[index]
        target[int(leaf) if isinstance(target, list) else leaf] = value  # type: ignore[index]
    return seal(Plan.model_validate(document))


def sample_record(plan: Plan, *, state: RunState = "done", fraction: float = 1.0, slower: float = 1.013) -> RunRecord:
    """What became of the plan: a little slower and a little worse than promised, inside every band."""
    steps = int(plan.recipe.num_steps * fraction)
    tokens = steps * plan.recipe.tokens_per_step
    train = steps * STEP_SECONDS * slower
    time = TimeSpent(startup_seconds=61.0, train_seconds=train, eval_seconds=88.0, checkpoint_seconds=95.0)
    flop = tokens * plan.compute.flop_per_token
    results = tuple(_gate_result(plan, gate) for gate in plan.gates if gate.step <= steps)
    final = results[-1].loss if results else None
    return RunRecord(
        run_id="r-0412",
        plan_id=plan.id,
        plan_digest=plan.digest,
        state=state,
        reason="" if state == "done" else f"{state} at step {steps}",
        job=plan.job(),
        num_attempts=1,
        num_steps=steps,
        num_tokens=tokens,
        total_flop=flop,
        final_loss=final,
        final_bits_per_byte=None if final is None else final / math.log(2) / BYTES_PER_TOKEN,
        final_train_loss=None if final is None else final - 0.004,
        time=time,
        wall_seconds=time.wall_seconds,
        step_seconds_p50=STEP_SECONDS * slower,
        cost_usd=plan.predicted.cost_usd.p50 * fraction * 1.011,
        energy_joules=run_energy_joules(time.wall_seconds, plan.rates),
        mfu=mfu(flop, seconds=train, rates=plan.rates, peak_flop_per_s=plan.hardware.peak_flop_per_s),
        peak_memory_bytes=37.6 * 2**30,
        gates=results,
        device="8 x NVIDIA H100 80GB HBM3",
        code_version="0.1.0+a91c2d4",
        checkpoint=f"checkpoints/{steps:07d}",
    )


def sample_approval(plan: Plan, *, cap_usd: float = 75.0) -> Approval:
    """An approval with a signature that no one checks."""
    statement = Statement(
        plan_id=plan.id,
        plan_digest=plan.digest,
        inputs=inputs_of(plan),
        cap_usd=cap_usd,
        approver="ana",
        approved_at=MADE + timedelta(hours=2),
        expires_at=MADE + timedelta(days=7),
        nonce="0" * 32,
        comment="within the quarter's research budget",
        plan=plan,
    )
    return Approval(statement=statement, signature="c2FtcGxl")


def edited_payload(text: bytes, old: bytes, new: bytes) -> bytes:
    """An approval's file with other text in the statement, in an envelope that is as it was otherwise."""
    document = json.loads(text)
    payload = base64.b64decode(document["payload"])
    assert old in payload, old
    document["payload"] = base64.b64encode(payload.replace(old, new, 1)).decode()
    return canonical_bytes(document) + b"\n"


def _plan() -> Plan:
    per_token = flop_per_token(SHAPE, seq_len=RECIPE.seq_len)
    total_flop = per_token * RECIPE.num_tokens
    train_seconds = RECIPE.num_steps * STEP_SECONDS
    lines = _cost_lines(train_seconds)
    total = sum(line.usd for line in lines)
    return Plan(
        created_at=MADE,
        valid_until=MADE + timedelta(days=14),
        code_version="0.1.0+a91c2d4",
        request=Request(
            name="demo", budget_usd=75, deadline_seconds=6 * 3600, hardware="h100-sxm", num_devices=8, law="fits/fit-03"
        ),
        model=PlannedModel(
            shape=SHAPE,
            num_params=num_params(SHAPE),
            num_params_non_embedding=num_params(SHAPE, convention="non-embedding"),
            num_params_matmul=num_params(SHAPE, convention="matmul"),
        ),
        data=PlannedData(
            num_tokens=RECIPE.num_tokens,
            unique_tokens=30_000_000_000,
            num_epochs=RECIPE.num_tokens / 30e9,
            corpus=CorpusRef(
                path="corpus", digest="9c01" + "ab" * 30, unique_tokens=30_000_000_000, bytes_per_token=BYTES_PER_TOKEN
            ),
            knowledge_cutoff=date(2026, 9, 30),
            summary="web text, filtered and deduplicated; English; 312 shards",
        ),
        compute=PlannedCompute(
            total_flop=total_flop, flop_per_token=per_token, six_nd_flop=6.0 * num_params(SHAPE) * RECIPE.num_tokens
        ),
        law=PlannedLaw(
            name="fit-03",
            form="chinchilla",
            parameters=tuple(
                LawParameter(name=name, value=value, standard_error=None)
                for name, value in (("E", 1.817), ("A", 406.4), ("B", 410.7), ("alpha", 0.348), ("beta", 0.366))
            ),
            digest="51ab" + "cd" * 30,
            n_convention="non-embedding",
            status="identified",
            extrapolation_ratio=13.1,
            source=Source(url="fits/fit-03.json", accessed=date(2026, 11, 20), note="34 runs, 3e17-3e18 FLOP"),
        ),
        hardware=PlannedHardware(
            name="h100-sxm",
            kind="gpu",
            num_devices=8,
            peak_flop_per_s=PEAK_FLOP_PER_S,
            memory_bytes=80e9,
            profile="h100-sxm, torch 2.13, compiled",
            digest="77fe" + "01" * 30,
            source=Source(url="https://www.nvidia.com/en-us/data-center/h100/", accessed=date(2026, 11, 20)),
        ),
        price=PlannedPrice(
            key="lambda/h100-sxm/on-demand",
            usd_per_device_hour=RATES.usd_per_device_hour,
            as_of=date(2026, 11, 17),
            source=Source(url="https://lambda.ai/pricing", accessed=date(2026, 11, 17)),
        ),
        rates=RATES,
        recipe=RECIPE,
        layout=_layout(),
        predicted=Predicted(
            loss=loss_after(RECIPE.num_tokens),
            cost_usd=Band(p10=total * 0.948, p50=total, p90=total * 1.102),
            wall_seconds=Band(p10=train_seconds * 0.98, p50=train_seconds * 1.02, p90=train_seconds * 1.1),
            step_seconds=STEP_SECONDS,
            step_seconds_band=Band(p10=STEP_SECONDS * 0.96, p50=STEP_SECONDS, p90=STEP_SECONDS * 1.06),
            tokens_per_second=RECIPE.tokens_per_step / STEP_SECONDS,
            mfu=mfu(total_flop, seconds=train_seconds, rates=RATES, peak_flop_per_s=PEAK_FLOP_PER_S),
            bound_by="compute",
            memory_bytes=38.2 * 2**30,
            memory_limit_bytes=80e9,
            energy_joules=run_energy_joules(train_seconds * 1.02, RATES),
            goodput_fraction=0.981,
            probability_over_cap=0.03,
            trajectory=tuple(
                TrajectoryPoint(num_tokens=count, loss=loss_after(count))
                for count in (int(RECIPE.num_tokens * (index / 40) ** 2) for index in range(1, 41))
            ),
        ),
        cost_lines=lines,
        caps=Caps(cost_usd=75.0, wall_seconds=6 * 3600, num_tokens=RECIPE.num_tokens),
        gates=tuple(_gate(step) for step in GATES_AT),
        alternatives=_alternatives(total),
        binding=Binding(
            constraint="budget", loss_change_for_10_percent_more=-0.015, note="3h 00m of the deadline unused"
        ),
        warnings=("the law reaches 13x beyond the largest run it was fitted on",),
    )


def _layout() -> Layout:
    return Layout(dp=8)


def _gate(step: int) -> Gate:
    band = loss_after(step * RECIPE.tokens_per_step)
    stop = band.p90 + 0.1 if step == GATES_AT[1] else None
    return Gate(step=step, loss_p10=band.p10, loss_p50=band.p50, loss_p90=band.p90, stop_above_loss=stop)


def _cost_lines(train_seconds: float) -> tuple[CostLine, ...]:
    rent = train_seconds / 3600 * RATES.num_devices * RATES.usd_per_device_hour
    return (
        CostLine(
            name="Main run", usd=rent, basis="8 devices, 3h 00m at $2.50", formula="devices * hours * usd_per_hour"
        ),
        CostLine(
            name="Evaluation and checkpoints", usd=rent * 0.02, basis="2 % of the steps' time", formula="share * rent"
        ),
        CostLine(
            name="Failures and restarts",
            usd=rent * 0.01,
            basis="6.5 failures per 1,000 node days",
            formula="lost * rent",
        ),
        CostLine(
            name="Tokenising", usd=1.2, basis="12.4B tokens on 64 CPU cores", formula="core_hours * usd_per_core_hour"
        ),
        CostLine(name="Storage", usd=0.35, basis="127 GB for 30 days", formula="gb_months * usd_per_gb_month"),
    )


def _alternatives(total: float) -> tuple[Alternative, ...]:
    return (
        Alternative(
            name="smaller model",
            cost_usd=total,
            wall_seconds=10800,
            loss_p50=loss_after(RECIPE.num_tokens).p50 + 0.007,
            num_params=370_000_000,
            num_tokens=17_700_000_000,
            note="30 % cheaper to serve",
        ),
        Alternative(
            name="larger model",
            cost_usd=total,
            wall_seconds=10800,
            loss_p50=loss_after(RECIPE.num_tokens).p50 + 0.006,
            num_params=740_000_000,
            num_tokens=8_900_000_000,
            note="costlier to serve",
        ),
        Alternative(
            name="fine-tune an open model",
            cost_usd=12.4,
            wall_seconds=2400,
            loss_p50=None,
            note="quality on your task is not predicted by this law",
        ),
        Alternative(name="do nothing", cost_usd=0.0, wall_seconds=0.0, loss_p50=None, note="no model"),
    )


def write_sample_events(path: Path, plan: Plan, *, num_steps: int, thin: int = 20) -> None:
    """What a run of the plan would have logged up to `num_steps`, every `thin`-th step of it; an end if it is done."""
    log = EventLog(path)
    log.write(Started(spent=_spent(plan, 0), attempt=1, pid=1, at="2026-11-20T12:00:00Z"))
    log.write(Ready(spent=_spent(plan, 0), step=0, num_steps=plan.recipe.num_steps, device="H100", checkpoint=None))
    gates = {gate.step: gate for gate in plan.gates}
    for step in range(1, num_steps + 1):
        if step % thin == 0 or step == num_steps:
            log.write(sample_step(plan, step))
        if gate := gates.get(step):
            log.write(Gated(spent=_spent(plan, step), result=_gate_result(plan, gate), delta=SAMPLE_DELTA))
        if step % (10 * plan.recipe.checkpoint_every_steps) == 0:
            log.write(
                Checkpointed(spent=_spent(plan, step), step=step, name=f"step-{step:07d}", checkpoint_seconds=1.9)
            )
    if num_steps == plan.recipe.num_steps:
        spent = _spent(plan, num_steps)
        log.write(Ended(spent=spent, state="done", reason="", exit_code=0, step=num_steps, checkpoint="step-0023641"))
    log.close()


def sample_step(plan: Plan, step: int) -> Stepped:
    """One step of a run of the plan, as it is logged."""
    tokens = step * plan.recipe.tokens_per_step
    planned = loss_after(tokens).p50
    return Stepped(
        spent=_spent(plan, step),
        step=step,
        loss=planned,
        loss_ema=planned + SAMPLE_DELTA + 0.006 * math.sin(step / 97) * math.cos(step / 31),
        planned_loss=planned,
        lr=1.2e-3,
        grad_norm=0.58,
        num_tokens=tokens,
        step_seconds=STEP_SECONDS * 1.013,
        tokens_per_second=plan.recipe.tokens_per_step / STEP_SECONDS / 1.013,
        mfu=plan.predicted.mfu / 1.013,
        peak_memory_bytes=37.6 * 2**30,
    )


def _spent(plan: Plan, step: int) -> Spent:
    time = TimeSpent(
        startup_seconds=61, train_seconds=step * STEP_SECONDS * 1.013, eval_seconds=step * 0.0037, checkpoint_seconds=0
    )
    return Spent(time=time, cost_usd=run_cost_usd(time.wall_seconds, plan.rates))


def _gate_result(plan: Plan, gate: Gate) -> GateResult:
    loss = gate.loss_p50 + SAMPLE_DELTA
    return GateResult(
        step=gate.step,
        num_tokens=gate.step * plan.recipe.tokens_per_step,
        loss=loss,
        bits_per_byte=loss / math.log(2) / BYTES_PER_TOKEN,
        gate=gate,
        is_within_band=gate.loss_p10 <= loss <= gate.loss_p90,
    )

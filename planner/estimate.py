"""Predictions for a table of measured runs: the same rows with prediction columns added."""

from collections.abc import Mapping

from data.errors import UserError
from planner.cluster import Layout
from planner.conventions import FlopConvention, flop_per_token_by
from planner.grid import MOST_IN_MICRO_BATCH, default_space
from planner.memory import FRAGMENTATION, MemoryBreakdown, memory_per_device
from planner.profiles import profile_for
from planner.published_columns import STEPS, usual_row
from planner.published_row import Configuration, configuration
from planner.report.cells import inert
from planner.search import Found, search
from planner.step import StepBreakdown, step_breakdown

ADDED_COLUMNS = (
    "isoplan_step_seconds",
    "isoplan_step_seconds_p10",
    "isoplan_step_seconds_p90",
    "isoplan_tflops_per_device",
    "isoplan_memory_bytes",
    "isoplan_status",
    "isoplan_reason",
    "isoplan_assumed",
)
# What a row that does not say what it recomputes may have done, least first.
UNSAID = ({"recompute": "alternate"}, {"recompute": "full"}, {"recompute": "full", "sharding": "fsdp"})


def estimated_row(row: Mapping[str, str]) -> dict[str, str]:
    """The row with `ADDED_COLUMNS`; a row that cannot be understood is `refused` with its reason."""
    try:
        usual = usual_row({name: text for name, text in row.items() if isinstance(text, str)}, STEPS)
        described, step, memory = _predicted(configuration(usual))
    except UserError as error:
        blank = dict.fromkeys(ADDED_COLUMNS, "")
        return {**row, **blank, "isoplan_status": "refused", "isoplan_reason": inert(str(error))}
    counted = flop_convention(usual)
    flop = flop_per_token_by(counted, described.shape, seq_len=described.seq_len, layout=described.layout)
    band = step.step_seconds_band
    added = {
        "isoplan_step_seconds": f"{step.step_seconds:.6g}",
        "isoplan_step_seconds_p10": f"{band.p10:.6g}",
        "isoplan_step_seconds_p90": f"{band.p90:.6g}",
        "isoplan_tflops_per_device": f"{flop * step.tokens_per_s_per_device / 1e12:.6g}",
        "isoplan_memory_bytes": f"{reported_memory_bytes(usual, memory):.6g}",
        "isoplan_status": "ok",
        "isoplan_reason": inert(_remark(described, memory)),
        "isoplan_assumed": inert("; ".join(described.assumed)),
    }
    return {**row, **added}


def flop_convention(row: Mapping[str, str]) -> FlopConvention:
    """How a row counts its FLOP, from its `convention` and `attn_flops` columns; full attention where it is silent."""
    text = f"{row.get('convention', '')} {row.get('attn_flops', '')}".lower()
    if text.startswith("hardware"):
        return "full-hardware"
    if "non-causal" not in text and ("causal" in text or "halved" in text):
        return "causal"
    return "full"


def _predicted(one: Configuration) -> tuple[Configuration, StepBreakdown, MemoryBreakdown]:
    """The row with its step and memory; what it does not state of its layout is the fastest that fits."""
    if one.is_layout_unknown:
        best = _fastest(one)
        known = one.with_layout(best.layout, told=f"{best.layout.text}: the fastest layout found")
        return known, best.step, best.memory
    if not one.is_micro_batch_unknown:
        return one, _step(one), _memory(one)
    sizes = (size for size in range(1, MOST_IN_MICRO_BATCH + 1) if not one.sequences_per_step % (size * one.layout.dp))
    tried = [one.with_micro_batch(size) for size in sizes]
    fitting = [(other, _step(other), memory) for other in tried if not _remark(other, memory := _memory(other))]
    if not fitting:
        raise UserError("micro_batch is unknown, and none fits")
    return min(fitting, key=lambda found: found[1].step_seconds)


def _fastest(one: Configuration) -> Found:
    batch = {"seq_len": one.seq_len, "sequences_per_step": one.sequences_per_step}
    space = default_space(one.shape, one.cluster, abilities=one.abilities, **batch)
    profile = profile_for(one.cluster.hardware, stack=one.stack)
    found = search(one.shape, one.cluster, profile, space, precision=one.precision, num_best=1, **batch)
    if not found.best:
        raise UserError(f"the layout is unknown, and {found.reason(one.cluster)}")
    return found.best[0]


def _step(one: Configuration) -> StepBreakdown:
    return step_breakdown(
        one.shape,
        one.layout,
        one.cluster,
        profile_for(one.cluster.hardware, stack=one.stack),
        seq_len=one.seq_len,
        sequences_per_step=one.sequences_per_step,
        precision=one.precision,
    )


def _memory(one: Configuration) -> MemoryBreakdown:
    """Memory of the row; where it does not say what is recomputed, the least that makes it fit, since it ran.

    A few such rows fit only with sharded weights, which their tables do not mention either.
    """

    def needed(**changes: str) -> MemoryBreakdown:
        return memory_per_device(
            one.shape,
            Layout.model_validate({**one.layout.model_dump(), **changes}),
            one.cluster,
            seq_len=one.seq_len,
            sequences_per_step=one.sequences_per_step,
            precision=one.precision,
            abilities=one.abilities,
        )

    memory = needed()
    for changes in UNSAID if one.is_recompute_unknown else ():
        if memory.total_bytes <= one.cluster.hardware.memory_bytes:
            break
        memory = needed(**changes)
    return memory


def reported_memory_bytes(row: Mapping[str, str], memory: MemoryBreakdown) -> float:
    """Memory as the row counts it: what the framework allocated, what it reserved, or all that the device holds."""
    kind = row.get("mem_kind", "").lower()
    if "alloc" in kind:
        return memory.allocated_bytes
    return memory.allocated_bytes * (1 + FRAGMENTATION) if "reserved" in kind else memory.total_bytes


def _remark(one: Configuration, memory: MemoryBreakdown) -> str:
    limit = one.cluster.hardware.memory_bytes
    if memory.allocated_bytes <= limit:
        return ""
    return f"out of memory by our count, {memory.allocated_bytes / limit - 1:.0%} above the device"

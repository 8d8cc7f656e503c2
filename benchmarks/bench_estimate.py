"""The accuracy of the time and memory models on published measured runs, written to benchmarks/throughput.md.

    python benchmarks/bench_estimate.py [--write]

In-sample with the shipped profiles; leaving one source out; with one measured run of that source used to calibrate;
beside the one-MFU-per-chip baseline on the same rows, and what peers reached on theirs (reference, section 3).
"""

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fit_profiles
import numpy as np
from numpy.typing import NDArray
from throughput_rows import ALL, TABLE, Run, runs

from planner.calibrate import MeasuredStep, calibrated
from planner.conventions import flop_per_token_by
from planner.estimate import estimated_row
from planner.profile import Profile
from planner.profiles import profile as shipped_profile
from planner.step import P90_SIGMAS, step_log_sd
from planner.step_terms import step_seconds
from planner.workload import stacked

OUT = Path(__file__).with_name("throughput.md")
PEERS = (
    ("Calculon (all it accepts, 179 of 274 rows)", 18.4, 75.5),
    ("llm-analysis (272 rows)", 17.7, 150.0),
    ("Bud simulator (272 rows)", 26.9, 77.0),
    ("SimuMax (its own 43 B200 runs)", 5.6, 10.4),
    ("one MFU per chip, 6N + attention (319 rows)", 9.3, 29.5),
)


@dataclass(frozen=True, slots=True)
class Predicted:
    """Log ratio of predicted to measured seconds and its standard deviation, one element per run."""

    log_error: NDArray[np.float64]
    log_sd: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        return np.exp(self.log_error) - 1.0


def predicted(tested: Sequence[Run], profile_of: Callable[[str, str], Profile]) -> Predicted:
    """Every run under the profile of its chip and stack."""
    log_error, log_sd = np.zeros(len(tested)), np.zeros(len(tested))
    places = defaultdict(list)
    for index, run in enumerate(tested):
        places[run.pair].append(index)
    for pair, at in places.items():
        one, work = profile_of(*pair), stacked([tested[index].work for index in at])
        measured = np.array([tested[index].step_seconds for index in at])
        log_error[at] = np.log(step_seconds(work, one.constants) / measured)
        log_sd[at] = step_log_sd(work, one)
    return Predicted(log_error, log_sd)


def left_out(everything: Sequence[Run]) -> tuple[Predicted, Predicted, NDArray[np.bool_], NDArray[np.bool_]]:
    """Leave one source out: predictions, those after one run of the source, whose chip and stack were seen, scored."""
    count = len(everything)
    plain, after = Predicted(np.zeros(count), np.zeros(count)), Predicted(np.zeros(count), np.zeros(count))
    seen, scored = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for source in sorted({run.source for run in everything}):
        at = [index for index, run in enumerate(everything) if run.source == source]
        others, tested = [run for run in everything if run.source != source], [everything[index] for index in at]
        blocks, result = fit_profiles.fit(others)

        def known(chip: str, stack: str) -> Profile:
            return fit_profiles.profile(blocks, result, chip=chip, stack=stack, num_runs=0)  # noqa: B023 - used at once

        _store(plain, at, predicted(tested, known))
        for index, run in zip(at, tested, strict=True):
            seen[index] = all(any(run.pair[k] == other.pair[k] for other in others) for k in (0, 1))
        _after_one_run(after, scored, at, tested, known)
    return plain, after, seen, scored


def family_left_out(dense: Sequence[Run], moe: Sequence[Run]) -> Predicted:
    """Mixtures of experts predicted after others of another family alone: DeepSeek, Qwen, Grok, GPT-OSS, Kimi."""
    blocks, result = fit_profiles.fit(dense)
    families = [run.row["model_name"][:4].lower() for run in moe]
    found = Predicted(np.zeros(len(moe)), np.zeros(len(moe)))
    for family in sorted(set(families)):
        at = [index for index, one in enumerate(families) if one == family]
        others = [run for run, one in zip(moe, families, strict=True) if one != family]
        moved = fit_profiles.with_experts(blocks, result, others)

        def known(chip: str, stack: str) -> Profile:
            return fit_profiles.profile(blocks, moved, chip=chip, stack=stack, num_runs=1)  # noqa: B023 - used at once

        _store(found, at, predicted([moe[index] for index in at], known))
    return found


def _after_one_run(
    after: Predicted,
    scored: NDArray[np.bool_],
    at: Sequence[int],
    tested: Sequence[Run],
    known: Callable[[str, str], Profile],
) -> None:
    """Calibrates on the middle run of each pair of the source (by step time) and scores the rest."""
    for pair in sorted({run.pair for run in tested}):
        places = [k for k, run in enumerate(tested) if run.pair == pair]
        places.sort(key=lambda k: tested[k].step_seconds)
        chosen, rest = places[len(places) // 2], [k for k in places if k != places[len(places) // 2]]
        if not rest:
            continue
        step = MeasuredStep(work=tested[chosen].work, step_seconds=tested[chosen].step_seconds)
        mine = calibrated(known(*pair), [step], version="one run")
        indices = [at[k] for k in rest]
        _store(after, indices, predicted([tested[k] for k in rest], lambda _chip, _stack, one=mine: one))
        scored[indices] = True


def _store(into: Predicted, at: Sequence[int], found: Predicted) -> None:
    into.log_error[at], into.log_sd[at] = found.log_error, found.log_sd


def one_mfu_per_chip(tested: Sequence[Run]) -> NDArray[np.float64]:
    """The baseline: every run of a chip at that chip's median MFU (full attention counted), fitted on the same rows."""
    full = np.array(
        [flop_per_token_by("full", run.configuration.shape, seq_len=run.configuration.seq_len) for run in tested]
    )
    tokens = np.array([run.configuration.seq_len * run.configuration.sequences_per_step for run in tested])
    peak = np.array([float(run.work.device.core_flop_per_s[0]) for run in tested])
    ideal = full * tokens / peak / np.array([run.configuration.layout.num_devices for run in tested])
    measured = np.array([run.step_seconds for run in tested])
    chips = np.array([run.pair[0] for run in tested])
    mfu = {chip: np.median((ideal / measured)[chips == chip]) for chip in set(chips)}
    return ideal / np.array([mfu[chip] for chip in chips]) / measured - 1.0


def line(name: str, error: NDArray[np.float64], *, cover: str = "") -> str:
    size = np.abs(error) * 100
    figures = f"{np.median(size):.1f} | {np.quantile(size, 0.9):.1f} | {size.max():.0f} | {np.median(error) * 100:+.1f}"
    return f"| {name} | {len(error)} | {figures} | {cover} |"


def covered(found: Predicted, which: NDArray[np.bool_] | None = None) -> str:
    inside = np.abs(found.log_error) < P90_SIGMAS * found.log_sd
    inside = inside if which is None else inside[which]
    return f"{inside.mean() * 100:.0f} %"


def accuracy_table() -> list[str]:
    tested = list(runs())
    dense = np.array([run.is_dense_16_bit for run in tested])
    shipped = predicted(tested, shipped_profile)
    plain, after, seen, scored = left_out(tested)
    usual = [run for run in runs(completeness=("C",)) if not run.configuration.shape.moe]
    moe = [run for run in runs(completeness=ALL) if run.configuration.shape.moe]
    unfitted, mixtures = predicted(usual, shipped_profile), predicted(moe, shipped_profile)
    family_out = family_left_out(tested, moe)
    return [
        "| rows | n | median % | P90 % | max % | bias % | inside 80 % |",
        "|---|---|---|---|---|---|---|",
        line("dense 16-bit, shipped profiles (in-sample)", shipped.error[dense], cover=covered(shipped, dense)),
        line("FP8 and FP4, in-sample", shipped.error[~dense], cover=covered(shipped, ~dense)),
        line("dense, with a field missing (completeness C), never fitted", unfitted.error, cover=covered(unfitted)),
        line("mixtures of experts (completeness C), in-sample", mixtures.error, cover=covered(mixtures)),
        line("mixtures of experts, family of models left out", family_out.error, cover=covered(family_out)),
        line("dense 16-bit, one MFU per chip, same rows", one_mfu_per_chip([r for r in tested if r.is_dense_16_bit])),
        line(
            "dense, source left out, chip and stack seen", plain.error[dense & seen], cover=covered(plain, dense & seen)
        ),
        line("dense, source left out, all", plain.error[dense], cover=covered(plain, dense)),
        line("FP8 and FP4, source left out", plain.error[~dense], cover=covered(plain, ~dense)),
        line("all, source left out", plain.error, cover=covered(plain, np.ones_like(dense))),
        line("dense, source left out, one run seen", after.error[dense & scored], cover=covered(after, dense & scored)),
        line("FP8, source left out, one run seen", after.error[~dense & scored], cover=covered(after, ~dense & scored)),
        *(f"| {name} | | {median} | {p90:.1f} | | | |" for name, median, p90 in PEERS),
    ]


def by_source_table() -> list[str]:
    tested = list(runs())
    shipped = predicted(tested, shipped_profile)
    rows = ["| source, chip | n | median % | P90 % | max % | bias % | inside 80 % |", "|---|---|---|---|---|---|---|"]
    for source in sorted({run.source for run in tested}):
        for kind, name in ((True, ""), (False, ", FP8 and FP4")):
            which = np.array([run.source == source and run.is_dense_16_bit == kind for run in tested])
            if which.any():
                label = source.replace("|", ", ")[-60:] + name
                rows.append(line(label, shipped.error[which], cover=covered(shipped, which)))
    return rows


def memory_and_refusals() -> list[str]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        answers = [estimated_row(row) for row in csv.DictReader(file)]
    complete = [row for row in answers if row["completeness"] in ("A", "B")]
    refused = [row for row in complete if row["isoplan_status"] == "refused"]
    measured = [row for row in answers if row["mem_gib"] and row["isoplan_status"] == "ok"]
    ratio = np.array([float(row["isoplan_memory_bytes"]) / 2**30 / float(row["mem_gib"]) - 1 for row in measured])
    kinds = np.array([row["mem_kind"].startswith("max alloc") for row in measured])
    over = [row["id"] for row in complete if "out of memory" in row["isoplan_reason"]]
    reasons = Counter(row["isoplan_reason"] for row in answers if row["isoplan_status"] == "refused")
    return [
        "| memory | n | median % | P90 % | max % | bias % | |",
        "|---|---|---|---|---|---|---|",
        line("max allocated", ratio[kinds]),
        line("max reserved", ratio[~kinds]),
        "",
        f"Refused of {len(complete)} complete rows (A, B): {len(refused)}. Called out of memory though they ran: "
        f"{len(over)} {', '.join(over)}.",
        "Refused of the others, by reason: " + "; ".join(f"{n} {why}" for why, n in reasons.most_common(8)) + ".",
    ]


def main() -> None:
    parts = ["\n".join(accuracy_table()), "\n".join(memory_and_refusals()), "\n".join(by_source_table())]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if "--write" in sys.argv:
        head, _, _ = OUT.read_text(encoding="utf-8").partition("<!-- written by bench_estimate.py -->")
        OUT.write_text(head + "<!-- written by bench_estimate.py -->\n\n" + text, encoding="utf-8")


if __name__ == "__main__":
    main()

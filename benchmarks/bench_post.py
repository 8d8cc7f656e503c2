"""Post-training planned, run and compared, each method several times: cost, time and CPU beside what the plan said.

    python benchmarks/bench_post.py FOLDER [--repeats 3] [--methods full,lora,dpo]

FOLDER holds a finished run r-0001 (isoplan run) with its corpus, prices and calibration. Preferences are made from the
held-out text: a prompt, its own continuation, and as rejected what follows a prompt that no pair has. How many held-out
pairs are told apart is the `preference` probe. `free` compares time without what was waited for a processor; CPU
seconds are the whole child processes'.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus.bpe import load
from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest
from data.durable import write_atomic

PROMPT, ANSWER, NUM_PAIRS = 64, 32, 1500


def preferences(folder: Path) -> None:
    """Write pairs.jsonl: a rejected answer follows a prompt that no pair has, so that none is chosen elsewhere."""
    manifest = load_manifest(folder / "corpus")
    batches = TokenBatches(folder / "corpus", manifest, 0, PROMPT + ANSWER)
    tokens, _ = batches.heldout(2 * NUM_PAIRS, PROMPT + ANSWER)
    tokenizer = load(folder / "corpus" / manifest.tokenizer.file.name)
    lines = []
    for row, other in zip(tokens[::2], np.roll(tokens[1::2], 1, axis=0), strict=True):
        texts = [tokenizer.decode(part) for part in (row[:PROMPT], row[PROMPT:-1], other[PROMPT:-1])]
        lines.append(json.dumps(dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))))
    write_atomic(folder / "pairs.jsonl", ("\n".join(lines) + "\n").encode())


def command(folder: Path, words: str) -> tuple[str, float]:
    """Return what a command prints, and the CPU seconds it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "tui", *words.split()]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def newest_record(folder: Path) -> dict[str, Any]:
    runs = sorted(folder.glob("runs/r-*/record.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(runs[-1].read_text())


def once(folder: Path, method: str, *, epochs: float, dpo_epochs: float) -> None:
    words = (
        f"--preferences pairs.jsonl --epochs {dpo_epochs}" if method == "dpo" else f"--corpus corpus --epochs {epochs}"
    )
    load_before = os.getloadavg()[0]
    plan = json.loads(command(folder, f"post r-0001 --method {method} {words} --json")[0])
    command(folder, f"approve {plan['id']} --cap 1 --time 60m --as ana")
    cpu = command(folder, f"run {plan['id']}")[1]
    record, promised = newest_record(folder), plan["predicted"]
    cost, band = record["cost_usd"] / promised["cost_usd"]["p50"] - 1, promised["cost_usd"]
    step = record["step_seconds_p50"] / promised["step_seconds"] - 1
    waiting = int(re.search(r"(\d+)% of it waiting", plan["cost_lines"][0]["formula"])[1]) / 100
    free = (record["wall_seconds"] - record["waited_seconds"]) / (promised["wall_seconds"]["p50"] * (1 - waiting)) - 1
    waited = record["waited_seconds"] / record["wall_seconds"]
    inside = band["p10"] <= record["cost_usd"] <= band["p90"]
    spread = f"{band['p10'] / band['p50'] - 1:+.0%} to {band['p90'] / band['p50'] - 1:+.0%}"
    gates = record["gates"]
    probes = [f"{probe['name']} {probe['accuracy']:.0%}" for probe in gates[0]["probes"] + gates[-1]["probes"]]
    print(
        f"{method:5} {record['num_steps']:5} steps  cost {cost:+6.1%} (band {spread}, {'in' if inside else 'OUT'})"
        f"  free {free:+6.1%}  waiting planned {waiting:.0%} actual {waited:.0%}"
        f"  step {step:+6.1%}  wall {record['wall_seconds']:.1f} s  cpu {cpu:.1f} s"
        f"  loss {promised['loss']['p50']:.4f} -> {record['final_loss']:.4f}  {', '.join(probes)}"
        f"  load {load_before:.1f} -> {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", default="full,lora,dpo")
    parser.add_argument("--epochs", type=float, default=0.3)
    parser.add_argument("--dpo-epochs", type=float, default=4)
    asked = parser.parse_args()
    preferences(asked.folder)
    print(time.strftime("%Y-%m-%d %H:%M"), f"{os.cpu_count()} cores")
    for _ in range(asked.repeats):
        for method in asked.methods.split(","):
            once(asked.folder, method, epochs=asked.epochs, dpo_epochs=asked.dpo_epochs)


if __name__ == "__main__":
    main()

"""What MaxText's own scripts say of the runs whose table prints a size and an MFU alone.

Its README lists runs on TPUs as "MaxText 16B"; the scripts it names (AI-Hypercomputer/maxtext, MaxText/configs/v5e and
v5p, `base.yml`; read on 2026-11-27) have the rest: sequences a chip, tensor parallelism, what is recomputed, 2,048
positions. A run of several v5e slices shards within a slice. `minimal` recomputes no product.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from data.catalog.hardware import hardware
from planner.conventions import flop_per_token_by
from planner.published_row import configuration


class Script(NamedTuple):
    """One script: `global_parameter_scale`, `per_device_batch_size`, tensor parallelism and `remat_policy`."""

    scale: int
    sequences: int
    tp: int
    recompute: str


SEQ_LEN = 2_048
SCRIPTS: Mapping[tuple[str, int], Script] = {
    ("tpu-v5e", 16): Script(16, 6, 1, "full"),
    ("tpu-v5e", 32): Script(32, 4, 1, "full"),
    ("tpu-v5e", 64): Script(64, 2, 1, "full"),
    ("tpu-v5p", 32): Script(32, 7, 4, "none"),
    ("tpu-v5p", 64): Script(64, 3, 4, "none"),
    ("tpu-v5p", 256): Script(256, 1, 8, "none"),
    ("tpu-v5p", 512): Script(512, 2, 8, "full"),
    ("tpu-v5p", 1024): Script(1024, 2, 8, "full"),
}
"""By chip and billions of parameters. Of the 1160B runs no script states a model of that size."""


def script_row(row: Mapping[str, str]) -> dict[str, str] | None:
    """A row of the table with what its script says and the seconds of a step; None where no script is known."""
    named = re.fullmatch(r"MaxText (\d+)B", row["model_name"])
    chip = row["hardware"].lower()
    script = SCRIPTS.get((chip, int(named[1]))) if named else None
    if script is None:
        return None
    num_devices = int(row["n_devices"])
    stated = {
        **row,
        **sizes(script.scale),
        "seq_len": str(SEQ_LEN),
        "TP": str(script.tp),
        "DP": str(num_devices // script.tp),
        "micro_batch": str(script.sequences * script.tp),
        "global_batch": str(script.sequences * num_devices),
        "FSDP": "hsdp",
        "recompute": script.recompute,
        "completeness": "A",
    }
    one = configuration(stated)
    flop = flop_per_token_by("full", one.shape, seq_len=SEQ_LEN) * one.sequences_per_step * SEQ_LEN
    rate = float(row["mfu_pct"]) / 100 * hardware(chip).peak_flop_per_s("bf16") * num_devices
    return {**stated, "derived_step_time_s": f"{flop / rate:.6g}"}


def sizes(scale: int) -> dict[str, str]:
    """The model of a `global_parameter_scale`, a power of two, from base.yml's 1.1B one (pyconfig's rule)."""
    layers, rest = divmod(round(math.log2(scale)), 3)
    wide, width = layers + (rest > 0), layers + (rest > 1)
    found = {"layers": 16 << layers, "hidden": 2_048 << width, "heads": 16 << wide, "kv_heads": 16 << wide}
    found |= {"ffn": 7_168 << wide, "head_dim": 128, "vocab": 32_000, "swiglu": 1}
    return {column: str(size) for column, size in found.items()}

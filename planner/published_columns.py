"""The names people give the columns of a table of runs, where they are not ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from data.errors import UserError
from data.units import parse_cell


@dataclass(frozen=True, eq=False)
class Columns:
    """Our columns of one kind of table, and what else they are called: in small letters, one _ for whatever is between.

    `names` has our name and the others, a blank between; `scaled` another name, ours, and what its numbers are times.
    """

    names: Mapping[str, str]
    scaled: Mapping[str, tuple[str, float]]

    def ours(self, column: str) -> str | None:
        """Our column that one of a table is, None where it is none."""
        plain = _plain(column)
        return self.scaled[plain][0] if plain in self.scaled else self._by_name.get(plain)

    def cell(self, column: str, text: str) -> str:
        """What a cell of a table's column says in our unit."""
        factor = self.scaled.get(_plain(column), ("", 1.0))[1]
        return text if factor == 1.0 or not text.strip() else repr(parse_cell(text) * factor)

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {name: ours for ours, usual in self.names.items() for name in (ours.lower(), *usual.split())}


STEPS = Columns(
    {
        "model_name": "model",
        "n_params": "params parameters num_params num_parameters model_size",
        "hardware": "gpu gpu_type gpu_model gpu_name device device_type accelerator chip platform",
        "n_devices": "gpus num_gpus n_gpus num_devices devices gpu_count world_size chips num_chips",
        "layers": "l num_layers n_layers n_layer num_hidden_layers",
        "hidden": "h hidden_size width d_model n_embd dim model_dim hidden_dim",
        "heads": "a num_heads n_heads n_head num_attention_heads attention_heads",
        "kv_heads": "num_kv_heads n_kv_heads num_key_value_heads num_query_groups kv",
        "ffn": "ffn_size ffn_hidden_size intermediate_size d_ff ffn_width ffn_dim mlp_dim",
        "vocab": "vocab_size padded_vocab_size",
        "swiglu": "mlp activation hidden_act",
        "n_experts": "num_experts experts num_moe_experts num_local_experts",
        "topk": "top_k experts_per_token num_experts_per_tok moe_router_topk router_topk",
        "moe_ffn": "moe_ffn_hidden_size moe_intermediate_size expert_ffn expert_ffn_width",
        "seq_len": "seq sequence_length seq_length context_length context max_seq_len",
        "global_batch": "global_batch_size gbs global_batch_sequences",
        "micro_batch": "micro_batch_size mbs per_device_batch_size local_batch_size",
        "TP": "tp_size tensor_parallel tensor_parallel_size tensor_model_parallel_size",
        "PP": "pp_size pipeline_parallel pipeline_parallel_size pipeline_model_parallel_size",
        "VP": "vpp vp_size virtual_pipeline virtual_pipeline_size num_model_chunks",
        "DP": "dp_size data_parallel data_parallel_size",
        "CP": "cp_size context_parallel context_parallel_size",
        "EP": "ep_size expert_parallel expert_parallel_size expert_model_parallel_size",
        "FSDP": "sharding sharding_strategy zero zero_stage",
        "precision": "dtype compute_dtype data_type",
        "recompute": "activation_checkpointing activation_recompute recomputation remat",
        "step_time_s": "step_time step_seconds seconds_per_step s_per_step iter_time_s iter_time iteration_time_s",
        "tokens_per_s_per_gpu": "tokens_per_sec_per_gpu tok_s_gpu tokens_s_gpu tps_per_gpu tokens_per_second_per_gpu",
        "SP": "sequence_parallel",
    },
    dict.fromkeys(
        ("step_time_ms", "step_ms", "iter_time_ms", "iteration_time_ms", "ms_per_step"), ("step_time_s", 1e-3)
    ),
)
"""Of measured steps, those of published_train.csv; l, h and a are Megatron's. A plain `batch` is not among them: it may
be a device's."""

COSTS = Columns(
    {
        "model": "model_name system name",
        "params": "parameters n_params num_params model_size",
        "active_params": "active_parameters",
        "tokens": "train_tokens training_tokens num_tokens training_dataset_size_datapoints dataset_size",
        "compute_flop": "flop flops train_flop training_flop training_flops training_compute_flop compute",
        "hardware": "gpu gpu_type gpu_model gpu_name device accelerator chip training_hardware",
        "n_devices": "devices num_devices gpus num_gpus n_gpus gpu_count hardware_quantity",
        "device_hours": "gpu_hours gpu_h chip_hours accelerator_hours training_chip_hours tpu_hours",
        "wall_days": "days training_days duration_days",
        "price_basis": "price priced_by",
        "date": "publication_date published",
        "year": "publication_year",
        "energy_mwh": "mwh",
    },
    {
        "hours": ("wall_days", 1 / 24),
        "wall_hours": ("wall_days", 1 / 24),
        "training_hours": ("wall_days", 1 / 24),
        "training_time_hours": ("wall_days", 1 / 24),
        "energy_kwh": ("energy_mwh", 1e-3),
    },
)
"""Of costs, those of published_costs.csv; "Training chip-hours" and its like are Epoch AI's."""


def usual_row(row: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """The row with our columns beside its own.

    Raises:
        UserError: two of its columns could be one of ours.
    """
    found = dict(row)
    for theirs, ours in _renamed(tuple(row), columns):
        found[ours] = columns.cell(theirs, row[theirs])
    return found


@lru_cache(maxsize=16)
def _renamed(header: tuple[str, ...], columns: Columns) -> tuple[tuple[str, str], ...]:
    """Pairs of a table's column and ours, where the table has none of ours."""
    pairs: dict[str, str] = {}
    for column in header:
        ours = columns.ours(column)
        if ours is None or ours in header:
            continue
        if ours in pairs:
            raise UserError(
                f"the columns {pairs[ours]} and {column} could both be {ours}",
                expected="one of them",
                next_step=f"call the one that counts {ours}",
            )
        pairs[ours] = column
    return tuple((theirs, ours) for ours, theirs in pairs.items())


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")

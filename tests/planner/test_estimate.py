"""Rows of published tables: understood as they are written, refused with a reason, predicted in their own terms."""

import pytest

from data.errors import UserError
from planner.estimate import ADDED_COLUMNS, estimated_row, flop_convention
from planner.published_row import configuration, stack_of

ROW = {
    "id": "llama-8b",
    "model_name": "LLAMA3_8B",
    "layers": "32",
    "hidden": "4096",
    "heads": "32",
    "kv_heads": "8",
    "ffn": "14336",
    "vocab": "128256",
    "swiglu": "1",
    "seq_len": "8192",
    "global_batch": "128",
    "micro_batch": "1",
    "hardware": "H100-80GB-SXM",
    "n_devices": "8",
    "TP": "1",
    "PP": "1",
    "DP": "4",
    "CP": "2",
    "FSDP": "no",
    "precision": "bf16",
    "source": "NVIDIA/dgxc-benchmarking",
    "attn_flops": "non-causal",
}


def row(**changes: str) -> dict[str, str]:
    return {**ROW, **changes}


def test_a_row_is_read_as_it_stands() -> None:
    one = configuration(row())

    assert (one.cluster.hardware.name, one.stack, one.precision) == ("h100-sxm", "megatron-te", "bf16")
    assert (one.layout.dp, one.layout.cp, one.layout.sharding) == (4, 2, "zero1")
    assert one.shape.head_dim == 128
    assert one.abilities.has_flash


@pytest.mark.parametrize(
    ("changes", "stack"),
    [
        ({}, "megatron-te"),
        ({"FSDP": "FULL_SHARD"}, "torch-fsdp1"),
        ({"FSDP": "yes", "TP": "1", "source": "a blog of Lightning's"}, "torch-fsdp1"),
        ({"FSDP": "yes", "TP": "1", "source": "NVIDIA-NeMo/Megatron-Bridge"}, "megatron-te"),
        ({"FSDP": "FSDP, zero-2-like", "TP": "8", "source": "a paper"}, "megatron-te"),
        ({"FSDP": "FSDP2"}, "torch-fsdp2"),
        ({"FSDP": "FSDP2", "notes": "local_batch=2; eager"}, "torch-fsdp2-eager"),
        ({"hardware": "TPU-v5e"}, "maxtext"),
        ({"attention": "unfused core attention"}, "megatron-unfused"),
        ({"source": "KellerJordan/modded-nanogpt"}, "torch-ddp"),
    ],
)
def test_the_stack_follows_from_how_it_shards_and_where_it_is_from(changes: dict[str, str], stack: str) -> None:
    assert stack_of(row(**changes)) == stack


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"heads": "", "model_name": "mine"}, "heads is unknown"),
        ({"heads": "", "hidden": "5120"}, "heads is unknown"),
        ({"hardware": "H1000"}, "no hardware"),
        ({"DP": "3"}, "takes 6 devices, the row has 8"),
        ({"global_batch": "130"}, "do not divide"),
        ({"layers": "many"}, "not a number"),
        ({"layers": "3.5"}, "not a count"),
        ({"precision": "int4"}, "no precision 'int4'"),
        ({"precision": "mixed"}, "no precision 'mixed'"),
        ({"recompute": "block 4"}, "no recomputation 'block 4'"),
        ({"kv_heads": "5"}, "not a model"),
        ({"hardware": "A100-80GB", "precision": "fp8"}, "no fp8 peak"),
    ],
)
def test_a_row_that_cannot_be_understood_is_refused_with_its_reason(changes: dict[str, str], reason: str) -> None:
    answer = estimated_row(row(**changes))

    assert answer["isoplan_status"] == "refused"
    assert reason in answer["isoplan_reason"]
    assert answer["isoplan_step_seconds"] == ""


def test_a_predicted_row_keeps_its_columns_and_adds_ours() -> None:
    answer = estimated_row(row())

    assert list(answer) == [*ROW, *ADDED_COLUMNS]
    assert answer["isoplan_status"] == "ok"
    low, mid, high = (float(answer[f"isoplan_step_seconds{end}"]) for end in ("_p10", "", "_p90"))
    assert low < mid < high


def test_what_was_measured_is_not_looked_at() -> None:
    told = estimated_row(row(step_time_s="1", tflops_per_gpu="9", mfu_pct="99", derived_step_time_s="1", days="3"))
    plain = estimated_row(row())

    assert [told[column] for column in ADDED_COLUMNS] == [plain[column] for column in ADDED_COLUMNS]


def test_the_sizes_of_a_public_model_need_not_be_stated() -> None:
    blank = dict.fromkeys(("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "swiglu"), "")

    stated, named = estimated_row(row()), estimated_row(row(**blank))
    proxy = configuration(row(**blank, model_name="LLAMA3_8B proxy 4L"))

    assert named["isoplan_step_seconds"] == stated["isoplan_step_seconds"]
    assert stated["isoplan_assumed"] == ""
    assert "hidden 4096" in named["isoplan_assumed"]
    assert "as published of LLAMA3_8B" in named["isoplan_assumed"]
    assert proxy.shape.num_layers == 4


def test_experts_of_a_public_model_are_its_own() -> None:
    blank = dict.fromkeys(("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "swiglu"), "")

    whole = configuration(row(**blank, model_name="DeepSeek-V3")).shape
    cut = configuration(row(**blank, model_name="DeepSeek-V3 (4 layers)", n_experts="64")).shape

    assert whole.moe is not None and cut.moe is not None
    assert (whole.moe.num_experts, whole.moe.shared_ffn_width, whole.moe.num_dense_layers) == (256, 2048, 3)
    assert (cut.moe.num_experts, cut.moe.expert_ffn_width, cut.moe.num_dense_layers) == (64, 2048, 1)
    assert whole.latent is not None


def test_parameters_alone_are_a_conventional_dense_model() -> None:
    blank = dict.fromkeys(("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "swiglu"), "")

    answer = estimated_row(row(**blank, model_name="ours", n_params="7B"))

    assert answer["isoplan_status"] == "ok"
    assert "a conventional dense model of 7B parameters" in answer["isoplan_assumed"]


def test_a_micro_batch_that_is_not_stated_is_the_fastest_that_fits() -> None:
    small = {"model_name": "mine", "layers": "24", "hidden": "1536", "heads": "12", "kv_heads": "12", "ffn": "4096"}
    small |= {"seq_len": "1024", "global_batch": "1024", "CP": "1", "DP": "8", "recompute": "none"}
    answer = estimated_row(row(**small, micro_batch=""))
    tried = [estimated_row(row(**small, micro_batch=str(size))) for size in (1, 2, 4, 8, 16, 32, 64, 128)]
    fitting = [float(one["isoplan_step_seconds"]) for one in tried if not one["isoplan_reason"]]

    assert len(fitting) < len(tried)
    assert float(answer["isoplan_step_seconds"]) == min(fitting) < fitting[0]
    assert "the fastest that fits" in answer["isoplan_assumed"]


def test_a_row_that_says_nothing_of_how_it_ran_gets_the_fastest_layout() -> None:
    bare = {"model_name": "ours", "n_params": "16e9", "hardware": "TPU-v5e", "n_devices": "512", "precision": "bf16"}

    answer = estimated_row(bare)

    assert answer["isoplan_status"] == "ok"
    for told in ("seq_len 2048", "global_batch 2048", "sharding=hsdp", "the fastest layout found"):
        assert told in answer["isoplan_assumed"]
    assert estimated_row({**bare, "TP": "8"})["isoplan_reason"] == "seq_len is unknown"


def test_a_batch_beyond_all_measure_takes_no_longer_than_another() -> None:
    answer = estimated_row(row(micro_batch="", recompute="none", global_batch="1e13"))

    assert answer["isoplan_status"] == "ok"
    assert "micro_batch 1:" in answer["isoplan_assumed"]


def test_a_gate_is_assumed_from_the_width_of_the_feed_forward() -> None:
    gated, plain = (configuration(row(swiglu="", ffn=ffn, model_name="mine")) for ffn in ("14336", "16384"))

    assert (gated.shape.mlp, plain.shape.mlp) == ("swiglu", "gelu")
    assert "four times the width" in plain.assumed[0]


def test_a_table_in_usual_names_is_predicted_like_ours() -> None:
    names = {"hardware": "gpu", "n_devices": "num_gpus", "global_batch": "GBS", "TP": "tp", "heads": "num_heads"}

    theirs = estimated_row({names.get(column, column): text for column, text in row().items()})

    assert theirs["isoplan_step_seconds"] == estimated_row(row())["isoplan_step_seconds"]


def test_throughput_is_in_the_rows_own_convention() -> None:
    full, causal = estimated_row(row()), estimated_row(row(attn_flops="causal (halved)"))

    # 57.9 against 51.5 GFLOP per token: reference/performance.md, section 2.
    ratio = float(full["isoplan_tflops_per_device"]) / float(causal["isoplan_tflops_per_device"])
    assert ratio == pytest.approx(57.9 / 51.5, rel=0.005)
    assert flop_convention(row(convention="hardware FLOPs incl. full recompute")) == "full-hardware"


def test_deepseek_rows_print_the_dense_width_and_are_read_so() -> None:
    changes = {"model_name": "DeepSeekV3", "layers": "61", "hidden": "7168", "heads": "128", "kv_heads": ""}
    one = configuration(row(**changes, ffn="18432", n_experts="256", topk="8"))

    assert one.shape.moe is not None
    assert (one.shape.moe.expert_ffn_width, one.shape.moe.num_dense_layers) == (2048, 3)


def test_a_network_named_in_the_source_replaces_the_catalogs() -> None:
    one = configuration(row(source="A100 40GB with 1600 Gbps node-node interconnect (RoCE)", hardware="A100-40GB"))

    assert one.cluster.hardware.network_bytes_per_s_per_node == 200e9


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "H100 SXM5 80GB", "h100-sxm", "8xH100"])
def test_a_chip_is_read_as_reports_write_it(name: str) -> None:
    assert configuration(row(hardware=name)).cluster.hardware.name == "h100-sxm"


@pytest.mark.parametrize(
    ("column", "text", "read"),
    [
        ("precision", "bfloat16", "bf16"),
        ("precision", "amp_bf16", "bf16"),
        ("precision", "float16 mixed", "fp16"),
        ("recompute", "False", "none"),
        ("recompute", "yes", "full"),
        ("recompute", "selective(core attn)", "selective"),
        ("FSDP", "ZeRO-3", "fsdp"),
        ("FSDP", "8", "fsdp"),
        ("FSDP", "DeepSpeed stage 2", "zero2"),
        ("FSDP", "DDP", "none"),
        ("FSDP", "1", "zero1"),
    ],
)
def test_tables_spell_settings_in_many_ways(column: str, text: str, read: str) -> None:
    one = configuration(row(**{column: text}))

    where = {"precision": one.precision, "recompute": one.layout.recompute, "FSDP": one.layout.sharding}
    assert where[column] == read


def test_a_part_of_a_device_is_refused() -> None:
    with pytest.raises(UserError, match="part of a device"):
        configuration(row(hardware="A100-80GB MIG 3g.40gb"))


def test_blank_is_not_a_count() -> None:
    with pytest.raises(UserError, match="seq_len is unknown"):
        configuration(row(seq_len=""))

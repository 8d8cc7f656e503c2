"""Configurations for tests of the time and memory models: values, strategies, and their arrays."""

from hypothesis import strategies as st

from data.catalog.hardware import hardware
from planner.attention import LatentAttention
from planner.cluster import Cluster, Layout
from planner.model import ModelShape, MoeSpec
from planner.profiles import profile
from planner.workload import Workload, workload

H100S = Cluster(hardware=hardware("h100-sxm"), num_devices=64)
A_CPU = Cluster(hardware=hardware("h100-sxm").model_copy(update={"name": "a-cpu", "kind": "cpu"}), num_devices=1)
PROFILE = profile("h100-sxm", "megatron-te")
LLAMA_7B = ModelShape(
    num_layers=32,
    width=4096,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    ffn_width=11008,
    vocab_size=32000,
    is_head_tied=False,
)
MIXTRAL = LLAMA_7B.model_copy(
    update={"moe": MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=14336), "ffn_width": 14336}
)


LATENT = LatentAttention(query_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128)
DEEPSEEK_V2 = ModelShape(
    num_layers=60,
    width=5120,
    num_heads=128,
    num_kv_heads=128,
    head_dim=192,
    ffn_width=12288,
    vocab_size=102400,
    is_head_tied=False,
    has_qk_norm=False,
    moe=MoeSpec(num_experts=160, experts_per_token=6, expert_ffn_width=1536, shared_ffn_width=3072, num_dense_layers=1),
    latent=LATENT,
)
"""DeepSeek-V2 (arXiv 2405.04434, section 3.1.2)."""


def shapes() -> st.SearchStrategy[ModelShape]:
    """Dense models and mixtures of experts whose every size divides by 8."""
    experts = st.builds(
        MoeSpec,
        num_experts=st.sampled_from([8, 16, 64]),
        experts_per_token=st.integers(1, 4),
        expert_ffn_width=st.sampled_from([512, 2048]),
        shared_ffn_width=st.sampled_from([0, 1024]),
    )
    return st.builds(
        lambda layers, heads, group, dim, vocab, mlp, tied, moe, latent: ModelShape(
            num_layers=layers,
            width=heads * dim,
            num_heads=heads,
            num_kv_heads=heads if latent else heads // group,
            head_dim=latent.head_dim if latent else dim,
            ffn_width=8 * heads * dim // 3 // 64 * 64 + 64,
            vocab_size=vocab,
            mlp=mlp,
            is_head_tied=tied,
            moe=moe,
            latent=latent,
            has_qk_norm=latent is None,
        ),
        st.sampled_from([8, 16, 32, 80]),
        st.sampled_from([8, 16, 64]),
        st.sampled_from([1, 2]),
        st.sampled_from([64, 128]),
        st.sampled_from([32000, 128256]),
        st.sampled_from(["swiglu", "gelu"]),
        st.booleans(),
        st.none() | experts,
        st.sampled_from([None, None, LATENT, LATENT.model_copy(update={"query_rank": 0})]),
    )


def layouts() -> st.SearchStrategy[Layout]:
    """Layouts of up to 512 devices over every axis, but for zero bubbles with sharded weights, which nobody runs.

    The model's filling of their bubble counts the wait for weights as if it computed.
    """
    return st.builds(
        lambda dp, tp, pp, cp, micro, chunks, sharding, recompute, schedule, offload, sequence: Layout(
            dp=dp,
            tp=tp,
            pp=pp,
            cp=cp,
            micro_batch=micro,
            num_model_chunks=chunks if pp > 1 and schedule == "1f1b" else 1,
            sharding=sharding,
            recompute=recompute,
            schedule=schedule if pp > 1 and sharding not in ("fsdp", "hsdp") else "1f1b",
            offload=offload if pp == 1 or schedule == "1f1b" else "none",
            is_sequence_parallel=sequence,
        ),
        st.sampled_from([1, 2, 8]),
        st.sampled_from([1, 2, 4]),
        st.sampled_from([1, 2, 4]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
        st.sampled_from(["none", "zero1", "zero2", "fsdp", "hsdp"]),
        st.sampled_from(["none", "selective", "alternate", "full"]),
        st.sampled_from(["1f1b", "zb-h1", "zb-h2"]),
        st.sampled_from(["none", "none", "optimizer", "activations"]),
        st.booleans(),
    )


def work(shape: ModelShape, layout: Layout, *, chip: str = "h100-sxm", seq_len: int = 4096) -> Workload:
    """A step of eight micro-batches on exactly the devices the layout takes, in bf16."""
    cluster = Cluster(hardware=hardware(chip), num_devices=layout.num_devices)
    sequences = 8 * layout.dp * layout.micro_batch
    return workload(shape, layout, cluster, seq_len=seq_len, sequences_per_step=sequences, precision="bf16")

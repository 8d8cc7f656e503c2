"""A job that isoplan planned, as torchtitan 0.3 configures one: `torchtitan.train --module isoplan_job --config job`.

`isoplan export --to torchtitan` copies this file as it is; all that varies is in `job.json` beside it. The batches are
isoplan's own (`data.corpus.loader`), the same samples in each step as its executor takes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchtitan.components.checkpoint import CheckpointManager
from torchtitan.components.dataloader import BaseDataLoader
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer, ParamGroupConfig
from torchtitan.config import CompileConfig, DebugConfig, ParallelismConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import FullAC
from torchtitan.distributed.pipeline_parallel import pipeline_llm
from torchtitan.models import llama3, qwen3
from torchtitan.models.common import ComplexRoPE, CosSinRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import get_attention_config, make_ffn_config, make_gqa_config
from torchtitan.models.llama3.model import Llama3TransformerBlock
from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
from torchtitan.models.qwen3.model import Qwen3TransformerBlock
from torchtitan.models.qwen3.state_dict_adapter import Qwen3StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec
from torchtitan.trainer import Trainer

from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest

HERE = Path(__file__).resolve().parent
JOB = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
MODEL, OPTIMISER, STEPS, LAYOUT, TEXT = (JOB[part] for part in ("model", "optimiser", "steps", "layout", "text"))
# Never drawn from: the job starts from the weights beside it.
_MATRIX = {"weight": partial(nn.init.normal_, std=0.02), "bias": nn.init.zeros_}
_GAIN = {"weight": nn.init.ones_}


def job() -> Trainer.Config:
    """Return the whole job."""
    return Trainer.Config(
        model_spec=model_spec(),
        hf_assets_path=str(HERE.parent / "weights"),
        loss=ChunkedLossWrapper.Config(loss_fn=CrossEntropyLoss.Config(global_vocab_size=MODEL["vocab_size"])),
        optimizer=optimizer(),
        lr_scheduler=LRSchedulersContainer.Config(
            warmup_steps=STEPS["warmup_steps"],
            decay_ratio=STEPS["decay_fraction"],
            decay_type=STEPS["decay"],
            min_lr_factor=STEPS["final_lr_fraction"],
        ),
        training=TrainingConfig(
            local_batch_size=STEPS["local_batch"],
            global_batch_size=STEPS["global_batch"],
            seq_len=STEPS["seq_len"],
            steps=STEPS["num_steps"],
            max_norm=OPTIMISER["clip_norm"],
            mixed_precision_param=STEPS["precision"],
            disable_cuda_graphs=True,
        ),
        dataloader=Batches.Config(dataset="isoplan"),
        parallelism=ParallelismConfig(**LAYOUT),
        checkpoint=CheckpointManager.Config(
            enable=True,
            interval=STEPS["checkpoint_every_steps"],
            initial_load_path=str(HERE.parent / "weights"),
            initial_load_in_hf=True,
        ),
        activation_checkpoint=FullAC.Config() if STEPS["recomputes"] else None,
        compile=CompileConfig(enable=STEPS["is_compiled"]),
        debug=DebugConfig(seed=TEXT["seed"]),
    )


def optimizer() -> OptimizersContainer.Config:
    """Return AdamW with the decay of each kind of parameter; the first pattern that matches counts."""
    common = {
        "lr": OPTIMISER["peak_lr"],
        "betas": (OPTIMISER["beta1"], OPTIMISER["beta2"]),
        "eps": OPTIMISER["epsilon"],
    }
    decays = {
        r"norm": 0.0,
        r"tok_embeddings|lm_head": OPTIMISER["table_weight_decay"],
        r".*": OPTIMISER["weight_decay"],
    }
    return OptimizersContainer.Config(
        param_groups=[
            ParamGroupConfig(
                pattern=pattern, optimizer_name="AdamW", optimizer_kwargs={**common, "weight_decay": weight_decay}
            )
            for pattern, weight_decay in decays.items()
        ]
    )


def model_spec() -> ModelSpec:
    """Return the model: a Llama 3, or a Qwen 3 where queries and keys are normalised."""
    is_qwen = MODEL["architecture"] == "qwen3"
    width, vocab_size = MODEL["width"], MODEL["vocab_size"]
    config = (qwen3.Qwen3Model if is_qwen else llama3.Llama3Model).Config(
        dim=width,
        vocab_size=vocab_size,
        enable_weight_tying=MODEL["is_head_tied"],
        tok_embeddings=Embedding.Config(num_embeddings=vocab_size, embedding_dim=width, param_init=_MATRIX),
        norm=_norm(width),
        lm_head=Linear.Config(in_features=width, out_features=vocab_size, param_init=_MATRIX),
        layers=[_layer(is_qwen=is_qwen) for _ in range(MODEL["num_layers"])],
    )
    return ModelSpec(
        name=MODEL["architecture"],
        flavor="isoplan",
        model=config,
        parallelize_fn=qwen3.parallelize_qwen3 if is_qwen else llama3.parallelize_llama,
        pipelining_fn=pipeline_llm,
        post_optimizer_build_fn=None,
        state_dict_adapter=Qwen3StateDictAdapter if is_qwen else Llama3StateDictAdapter,
    )


def _layer(*, is_qwen: bool) -> Llama3TransformerBlock.Config | Qwen3TransformerBlock.Config:
    width = MODEL["width"]
    rope = (CosSinRoPE if is_qwen else ComplexRoPE).Config(
        dim=MODEL["head_dim"], max_seq_len=STEPS["seq_len"], theta=MODEL["rope_base"], **MODEL["rope_scaling"]
    )
    return (Qwen3TransformerBlock if is_qwen else Llama3TransformerBlock).Config(
        attention_norm=_norm(width),
        ffn_norm=_norm(width),
        attention=make_gqa_config(
            dim=width,
            n_heads=MODEL["num_heads"],
            n_kv_heads=MODEL["num_kv_heads"],
            head_dim=MODEL["head_dim"],
            wqkv_param_init=_MATRIX,
            wo_param_init=_MATRIX,
            inner_attention=get_attention_config("flex"),
            fuse_qkv=True,
            rope=rope,
            qk_norm=_norm(MODEL["head_dim"]) if is_qwen else None,
        ),
        feed_forward=make_ffn_config(
            dim=width, hidden_dim=MODEL["ffn_width"], w1_param_init=_MATRIX, w2w3_param_init=_MATRIX
        ),
    )


def _norm(width: int) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=width, eps=MODEL["norm_epsilon"], param_init=_GAIN)


class Batches(BaseDataLoader):
    """isoplan's text: batch k of rank r of n holds the samples from (k n + r) times the batch on."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        """Nothing: `job.json` says it."""

    def __init__(
        self, config: Config, *, dp_world_size: int, dp_rank: int, seq_len: int, local_batch_size: int, **unused: object
    ) -> None:
        folder = Path(TEXT["corpus"])
        manifest = load_manifest(folder)
        if manifest.digest != TEXT["digest"]:
            raise ValueError(f"the corpus at {folder} is not the one this job was planned for")
        self._batches = TokenBatches(folder, manifest, TEXT["seed"], seq_len)
        self._rank, self._num_ranks, self._size = dp_rank, dp_world_size, local_batch_size
        self._num_taken = 0

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """Yield inputs with positions, and targets."""
        while True:
            place = self._num_taken * self._num_ranks + self._rank
            self._num_taken += 1
            first = TEXT["first_sample"] + place * self._size
            token_BT1 = torch.from_numpy(self._batches.batch(first, self._size))
            positions = torch.from_numpy(self._positions(first))
            yield {"input": token_BT1[:, :-1], "positions": positions}, token_BT1[:, 1:]

    def _positions(self, first: int) -> np.ndarray:
        """Return each token's place in its sequence, or in its document where documents are masked."""
        document_BT = self._batches.documents(first, self._size)[:, :-1]
        place_BT = np.broadcast_to(np.arange(document_BT.shape[1]), document_BT.shape)
        if not TEXT["masks_documents"]:
            return place_BT.copy()
        is_first_BT = np.diff(document_BT, axis=1, prepend=-1) != 0
        return place_BT - np.maximum.accumulate(np.where(is_first_BT, place_BT, 0), axis=1)

    def state_dict(self) -> dict[str, int]:
        """Return how many batches were taken."""
        return {"num_taken": self._num_taken}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on after as many."""
        self._num_taken = state_dict.get("num_taken", 0)

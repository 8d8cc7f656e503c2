"""What each layer may look at, and what that costs: full, sliding window or block sparse, always causal, with GQA.

Conventions. A token at position i sees keys 0..i, itself included. `mean_keys` is the average number of keys per query
over one sequence, so the attention core costs `4 * heads * head_dim * mean_keys` FLOP per token forward (scores and
values, a multiply and an add each). PaLM, FlashAttention-2 and Megatron before 2025 count every key (`seq_len`), about
twice as much; see docs/conventions.md.
"""

from typing import Literal

from pydantic import Field, model_validator

from data.units import Count
from data.values import Value

AttentionKind = Literal["full", "sliding_window", "block_sparse"]


class AttentionSpec(Value):
    """Which keys a query sees. `global_every` = k makes every k-th layer full; 0 means none is.

    Block sparse sees its own block, the `window // block` blocks before it, and the first `num_sink_blocks` blocks.
    """

    kind: AttentionKind = "full"
    window: Count | None = None
    block: Count | None = None
    num_sink_blocks: int = 0
    global_every: int = 0

    @model_validator(mode="after")
    def _complete(self) -> "AttentionSpec":
        if (self.kind == "full") != (self.window is None):
            raise ValueError("a window belongs to sliding_window and block_sparse, and only to them")
        if (self.kind == "block_sparse") != (self.block is not None):
            raise ValueError("a block belongs to block_sparse, and only to it")
        if self.block and self.window and self.window % self.block:
            raise ValueError(f"the window {self.window} is not a multiple of the block {self.block}")
        if self.num_sink_blocks < 0 or self.global_every < 0:
            raise ValueError("num_sink_blocks and global_every are not negative")
        if self.num_sink_blocks and self.kind != "block_sparse":
            raise ValueError("sink blocks belong to block_sparse, and only to it")
        return self

    def is_global(self, layer: int) -> bool:
        """Return whether `layer`, counted from 0, sees every earlier key."""
        return self.kind == "full" or (self.global_every > 0 and (layer + 1) % self.global_every == 0)

    def num_global(self, num_layers: int) -> int:
        """Return how many of so many layers see every earlier key; not counted, since a plan may state any number."""
        if self.kind == "full":
            return num_layers
        return num_layers // self.global_every if self.global_every else 0

    def sees_everything(self, seq_len: int) -> bool:
        """Return whether each query of a sequence sees every earlier key, whatever its layer."""
        return self.window is None or seq_len <= self.window

    def local_fraction(self, seq_len: int, *, num_layers: int) -> float:
        """Return the share of layers that see less than every earlier key of a sequence."""
        if self.sees_everything(seq_len):
            return 0.0
        return (num_layers - self.num_global(num_layers)) / num_layers

    def total_keys(self, seq_len: int, *, num_layers: int) -> float:
        """Return the keys a query sees on average, summed over layers: global and local ones each computed once."""
        num_global = self.num_global(num_layers)
        local_keys = self.mean_keys(seq_len, layer=0) if num_global < num_layers else 0.0  # the first is local, or none
        return num_global * (seq_len + 1) / 2 + (num_layers - num_global) * local_keys

    def cached_keys(self, num_tokens: int, *, layer: int) -> int:
        """Return the keys `layer` must keep to go on after `num_tokens`: those that the next queries may still see."""
        if self.is_global(layer) or self.window is None:
            return num_tokens
        block = self.block or 0
        return min(num_tokens, self.window + block * (1 + self.num_sink_blocks))

    def mean_keys(self, seq_len: int, *, layer: int) -> float:
        """Return the keys a query sees on average in `layer`, over one sequence of `seq_len` tokens."""
        if self.is_global(layer) or self.window is None:
            return (seq_len + 1) / 2
        if self.kind == "sliding_window":
            reach = min(self.window, seq_len)
            return reach - reach * (reach - 1) / (2 * seq_len)
        return _block_sparse_keys(self, seq_len) / seq_len


class LatentAttention(Value):
    """Keys and values rebuilt from one small latent a token (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    A key is `nope_dim` values of its head, rebuilt, and `rope_dim` rotary ones that all heads share; a value has
    `value_dim`. With `query_rank` above 0 queries come through a latent too. Training rebuilds keys and values;
    serving keeps `kv_rank + rope_dim` numbers a token and layer.
    """

    kv_rank: Count
    query_rank: int = Field(default=0, ge=0)
    nope_dim: Count
    rope_dim: Count
    value_dim: Count

    @model_validator(mode="after")
    def _rotates(self) -> "LatentAttention":
        if self.rope_dim % 2:
            raise ValueError(f"rotary positions need an even rope_dim, not {self.rope_dim}")
        return self

    @property
    def head_dim(self) -> int:
        """Size of one head's query and key."""
        return self.nope_dim + self.rope_dim


def _block_sparse_keys(spec: AttentionSpec, seq_len: int) -> float:
    block = spec.block or seq_len
    reach = (spec.window or 0) // block
    num_whole, rest = divmod(seq_len, block)

    def seen(index: int) -> int:
        return min(index, reach) + min(spec.num_sink_blocks, max(0, index - reach))

    before = _total_up_to(num_whole, reach) + _total_up_to(max(0, num_whole - reach), spec.num_sink_blocks)
    own = num_whole * (block * (block + 1) // 2) + rest * (rest + 1) // 2
    return float(before * block * block + rest * seen(num_whole) * block + own)


def _total_up_to(count: int, most: int) -> int:
    """Return the sum of the numbers from 0, `count` of them, each `most` at the most."""
    growing = min(count, most)
    return growing * (growing - 1) // 2 + most * (count - growing)

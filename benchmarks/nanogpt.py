"""nanoGPT's model restated (karpathy/nanoGPT, model.py), the reference of two benchmarks: no biases, no dropout.

`Modernised`, in the same plain style, computes what litgpt's model and the executor's (without QK norm) do.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and a GELU feed-forward of four times the width, each behind a LayerNorm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._width, self._num_heads = width, num_heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(self.ln_1(x)).split(self._width, dim=2)
        q, k, v = (part.unflatten(2, (self._num_heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).flatten(2))
        return x + self.c_out(functional.gelu(self.c_fc(self.ln_2(x))))


class NanoGPT(nn.Module):
    """Learned positions, a tied head, weights of 0.02 and outputs scaled by depth; called, it gives the mean loss."""

    def __init__(self, vocab_size: int, *, num_layers: int, width: int, num_heads: int, context: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.ln_f = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_output = name.endswith(("c_proj.weight", "c_out.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * num_layers) if is_output else 0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class ModernBlock(nn.Module):
    """Attention over rotated queries and keys and a SwiGLU feed-forward, each behind an RMSNorm."""

    def __init__(self, width: int, num_heads: int, ffn_width: int) -> None:
        super().__init__()
        self._width, self._num_heads = width, num_heads
        self.norm_1, self.norm_2 = (nn.RMSNorm(width) for _ in range(2))
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.c_gate, self.c_fc = (nn.Linear(width, ffn_width, bias=False) for _ in range(2))
        self.c_out = nn.Linear(ffn_width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        parts = self.c_attn(self.norm_1(x)).split(self._width, dim=2)
        q, k, v = (part.unflatten(2, (self._num_heads, -1)).transpose(1, 2) for part in parts)
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).flatten(2))
        h = self.norm_2(x)
        return x + self.c_out(functional.silu(self.c_gate(h)) * self.c_fc(h))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (batch, heads, positions, size), their halves turned by each position's angles."""
    low, high = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-high, low), dim=-1) * sin).to(x.dtype)


class Modernised(nn.Module):
    """The loop's model with rotary positions, RMSNorm and SwiGLU; called, it gives the mean loss."""

    def __init__(
        self, vocab_size: int, *, num_layers: int, width: int, num_heads: int, ffn_width: int, context: int
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(ModernBlock(width, num_heads, ffn_width) for _ in range(num_layers))
        self.norm = nn.RMSNorm(width)
        size = width // num_heads
        angles = torch.outer(torch.arange(context), 10_000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = functional.linear(self.norm(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

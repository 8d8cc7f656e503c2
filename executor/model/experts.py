"""A mixture of experts: each token visits the few feed-forwards its router scores highest, none is dropped.

Scores are sigmoids, the chosen ones normalised to one, and experts are kept equally busy without an auxiliary loss: a
bias, moved after each step against the load, is added to the scores for the choice alone (DeepSeek-V3,
arXiv:2412.19437, section 2.1.2; Wang et al., arXiv:2408.15664). Tokens are sorted by expert, so that an expert is one
product over its own; where torch has one kernel for all of them it is used.

Axes: S tokens, W width, E experts, K experts a token visits, R = S*K visits, F feed-forward width of one expert.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, grouped_mm, linear
from typing_extensions import override

from executor.model.feed_forward import FeedForward, swiglu
from planner.model import ModelShape

# torch's grouped product wants rows that start at multiples of 16 bytes: 8 numbers in bf16.
_KERNEL_MULTIPLE = 8


class Routed(nn.Module):
    """The experts of one layer that tokens are sent to: all of them, or those that this rank holds."""

    def __init__(self, num_experts: int, width: int, ffn_width: int, *, is_gated: bool) -> None:
        super().__init__()
        self._is_gated = is_gated
        num_up = ffn_width * (2 if is_gated else 1)
        self.up = nn.Parameter(torch.empty(num_experts, num_up, width))
        self.down = nn.Parameter(torch.empty(num_experts, width, ffn_width))

    @override
    def forward(self, x_RW: Tensor, visits_E: Tensor) -> Tensor:
        """Return each expert's output for its own rows; `x_RW` is sorted by expert."""
        sizes = (*self.up.shape[1:], self.down.shape[2])
        product = _product(x_RW, visits_E, fits_kernel=all(n % _KERNEL_MULTIPLE == 0 for n in sizes))
        inner = product(x_RW, self.up)
        return product(swiglu(inner) if self._is_gated else gelu(inner), self.down)


class Visit(Protocol):
    """How rows, sorted by expert, come to the experts and back: (rows, visits of each expert, experts) -> rows."""

    def __call__(self, x_RW: Tensor, visits_E: Tensor, routed: Routed) -> Tensor:
        """Return the experts' outputs in the order of the rows."""
        ...


def visit_here(x_RW: Tensor, visits_E: Tensor, routed: Routed) -> Tensor:
    """Visit experts that are all in this process."""
    out_RW = routed(x_RW, visits_E)
    assert isinstance(out_RW, Tensor)
    return out_RW


class Experts(nn.Module):
    """The feed-forward of one layer as experts, with a shared one besides where the shape has one.

    `visit` is what expert parallelism changes, how tokens come to experts that other ranks hold; `mix` what tensor
    parallelism does where it splits every expert, whose tokens then are those of all its ranks.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        moe = shape.moe
        if moe is None or moe.capacity_factor:
            raise ValueError("the executor's experts take every token that comes; the shape says otherwise")
        is_gated, self._num_visits = shape.mlp == "swiglu", moe.experts_per_token
        self.visit: Visit = visit_here
        self.mix: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = _mix_own
        # First, so that its weights are drawn first.
        self.routed = Routed(moe.num_experts, shape.width, moe.expert_ffn_width, is_gated=is_gated)
        self.router = nn.Linear(shape.width, moe.num_experts, bias=False)
        shared = moe.shared_ffn_width
        self.shared = FeedForward(shape.width, shared, is_gated=is_gated) if shared else None
        # The bias is part of what was learnt and is saved with the weights; visits are of the step under way.
        self.register_buffer("bias_E", torch.zeros(moe.num_experts))
        self.register_buffer("visits_E", torch.zeros(moe.num_experts, dtype=torch.int64), persistent=False)

    @override
    def forward(self, x_BTW: Tensor) -> Tensor:
        out_BTW = self.mix(self._mixture, x_BTW)
        return out_BTW if self.shared is None else out_BTW + self.shared(x_BTW)

    def reset(self) -> None:
        """Start with no preference and nothing seen."""
        self.bias_E.zero_()
        self.visits_E.zero_()

    @torch.no_grad()
    def balance(self, rate: float) -> None:
        """Move the bias of each expert by `rate`: up where it was visited less than its share, down where more."""
        visits_E = self.visits_E.float()
        self.bias_E += rate * torch.sign(visits_E.mean() - visits_E)
        self.visits_E.zero_()

    def _mixture(self, x_BTW: Tensor) -> Tensor:
        x_SW = x_BTW.flatten(0, -2)
        chosen_SK, weight_SK = self._route(x_SW)
        return self._visited(x_SW, chosen_SK, weight_SK).view_as(x_BTW)

    def _route(self, x_SW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen experts and their weights, (S, K) each; scores in float32 whatever the products are in."""
        score_SE = torch.sigmoid(self.router(x_SW).float())
        chosen_SK = (score_SE.detach() + self.bias_E).topk(self._num_visits, dim=1, sorted=False).indices
        if torch.is_grad_enabled():
            # Counted again where the layer is computed again, and by each rank that does: as often for each expert, so
            # shares stay as they are.
            self.visits_E += chosen_SK.flatten().bincount(minlength=len(self.bias_E))
        weight_SK = score_SE.gather(1, chosen_SK)
        # A single visit keeps its score: normalised it would be one, and the router would learn nothing.
        return chosen_SK, weight_SK if self._num_visits == 1 else weight_SK / weight_SK.sum(1, keepdim=True)

    def _visited(self, x_SW: Tensor, chosen_SK: Tensor, weight_SK: Tensor) -> Tensor:
        order_R = chosen_SK.flatten().argsort(stable=True)
        token_R = order_R // self._num_visits
        visits_E = chosen_SK.flatten().bincount(minlength=len(self.bias_E))
        out_RW = self.visit(x_SW.index_select(0, token_R), visits_E, self.routed)
        weighted_RW = out_RW * weight_SK.flatten().index_select(0, order_R)[:, None].to(out_RW.dtype)
        return torch.zeros_like(x_SW, dtype=out_RW.dtype).index_add(0, token_R, weighted_RW)


def _mix_own(mixture: Callable[[Tensor], Tensor], x_BTW: Tensor) -> Tensor:
    return mixture(x_BTW)


def balance(model: nn.Module, rate: float) -> None:
    """Balance every layer of experts in `model` by the visits of the step just taken."""
    for module in model.modules():
        if isinstance(module, Experts):
            module.balance(rate)


def _product(rows_RW: Tensor, visits_E: Tensor, *, fits_kernel: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (rows, weights (E, out, in)) -> rows: torch's one kernel for all experts, or a loop."""
    kind = rows_RW.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows_RW.dtype
    if fits_kernel and dtype != torch.float64:
        ends_E = visits_E.cumsum(0).to(torch.int32)
        return lambda rows, weight: grouped_mm(rows.to(dtype), weight.to(dtype).transpose(-2, -1), offs=ends_E)
    sizes = visits_E.tolist()
    return lambda rows, weight: torch.cat(
        [linear(part, one) for part, one in zip(rows.split(sizes), weight, strict=True)]
    )

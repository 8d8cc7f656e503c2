"""Experts: what a token gets, who is counted, how the load evens out, and the two ways to multiply."""

import pytest
import torch
from torch.nn.functional import silu

from executor.model.decoder import Decoder
from executor.model.experts import Experts, balance
from executor.model.initialise import build
from planner.model import ModelShape, MoeSpec

CPU = torch.device("cpu")


def shape(*, width: int = 8, ffn: int = 8, visits: int = 2, shared: int = 0, **changes) -> ModelShape:
    moe = MoeSpec(num_experts=4, experts_per_token=visits, expert_ffn_width=ffn, shared_ffn_width=shared, **changes)
    return ModelShape(
        num_layers=2, width=width, num_heads=2, num_kv_heads=1, head_dim=4, ffn_width=16, vocab_size=16, moe=moe
    )


def experts(of: ModelShape) -> Experts:
    made = Experts(of)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
        made.bias_E.copy_(torch.tensor([0.3, 0.0, -0.2, 0.1]))
    return made


def token_by_token(made: Experts, x_SW: torch.Tensor, *, visits: int) -> torch.Tensor:
    """Each token through its experts, written from the papers' equations."""
    rows = []
    for x in x_SW:
        score = torch.sigmoid(made.router.weight @ x)
        chosen = (score + made.bias_E).topk(visits).indices
        weight = score[chosen] if visits == 1 else score[chosen] / score[chosen].sum()
        out = torch.zeros_like(x)
        for expert, share in zip(chosen.tolist(), weight, strict=True):
            gate, up = (made.routed.up[expert] @ x).chunk(2)
            out = out + share * (made.routed.down[expert] @ (silu(gate) * up))
        rows.append(out if made.shared is None else out + made.shared(x))
    return torch.stack(rows)


# A width of 8 goes through torch's grouped product, one of 6 through the loop.
@pytest.mark.parametrize(("width", "ffn"), [(8, 8), (6, 5)])
@pytest.mark.parametrize("visits", [1, 2, 4])
@pytest.mark.parametrize("shared", [0, 4])
def test_each_token_gets_the_weighed_sum_of_its_experts(width: int, ffn: int, visits: int, shared: int):
    made = experts(shape(width=width, ffn=ffn, visits=visits, shared=shared))
    x = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(1)).requires_grad_()

    actual, expected = made(x).flatten(0, 1), token_by_token(made, x.flatten(0, 1), visits=visits)

    torch.testing.assert_close(actual, expected)
    wanted = (x, made.router.weight, made.routed.up, made.routed.down)
    grads, expected_grads = (torch.autograd.grad(y.square().sum(), wanted) for y in (actual, expected))
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=2e-5)


def test_in_bf16_both_products_agree(monkeypatch: pytest.MonkeyPatch):
    made = experts(shape())
    x = torch.randn(40, 8)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        kernel = made(x)
        monkeypatch.setattr("executor.model.experts._KERNEL_MULTIPLE", 10**6)
        loop = made(x)

    torch.testing.assert_close(kernel, loop)


def test_layers_before_the_experts_are_dense():
    blocks = Decoder(shape(num_dense_layers=1), seq_len=8).blocks

    assert [isinstance(block.feed_forward, Experts) for block in blocks] == [False, True]


def test_visits_count_in_training_only_and_bias_moves_against_them():
    made = experts(shape())
    made.reset()
    x = torch.randn(50, 8)
    with torch.no_grad():
        made(x)
    assert made.visits_E.sum() == 0

    made(x)
    visits = made.visits_E.clone()
    balance(made, 0.01)

    assert visits.sum() == 100
    assert torch.equal(made.bias_E, 0.01 * torch.sign(25.0 - visits))
    assert made.visits_E.sum() == 0


def test_balancing_evens_out_a_router_that_prefers_one_expert():
    made = experts(shape())
    made.reset()
    x = torch.randn(400, 8, generator=torch.Generator().manual_seed(1)) + 2.0

    def busiest() -> float:
        made(x)
        share = (made.visits_E.max() / made.visits_E.sum()).item()
        balance(made, 0.01)
        return share

    shares = [busiest() for _ in range(200)]

    assert shares[0] > 0.4
    assert sum(shares[-50:]) / 50 < 0.3  # a quarter is even


def test_the_bias_is_kept_with_the_weights():
    names = build(shape(), seq_len=8, seed=0, device=CPU).state_dict()

    assert "blocks.0.feed_forward.bias_E" in names
    assert "blocks.0.feed_forward.visits_E" not in names


def test_a_capacity_is_refused():
    with pytest.raises(ValueError, match="take every token"):
        Experts(shape(capacity_factor=1.25))

"""The norm that all layouts clip by."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.clip import clip, squared_norm


def test_the_norm_of_a_large_gradient_is_exact_where_float32_is_not():
    """torch's own float32 norm is off by 6e-5 here on a CPU."""
    gradient = torch.randn(8192, 384, generator=torch.Generator().manual_seed(0))
    exact = gradient.double().square().sum()

    assert squared_norm([gradient]).item() == pytest.approx(exact.item(), rel=1e-8)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(1, 6))
def test_however_a_gradient_is_cut_its_norm_is_one(shape: list[int], num_parts: int):
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    parts = [part.clone() for part in gradient.chunk(num_parts)]

    whole = squared_norm([gradient]).item()

    assert whole == pytest.approx(gradient.double().square().sum().item(), rel=1e-6)
    assert squared_norm(parts).item() == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("limit", "expected"), [(10.0, [3.0, 4.0]), (2.5, [1.5, 2.0])])
def test_only_what_is_above_the_limit_is_scaled_to_it(limit: float, expected: list[float]):
    gradients = [torch.tensor([3.0]), torch.tensor([4.0])]

    clip(gradients, squared_norm(gradients).sqrt(), limit=limit)

    assert torch.cat(gradients).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_norm_that_is_not_finite_is_told():
    assert squared_norm([torch.tensor([1.0, torch.nan])]).isnan()
    assert squared_norm([torch.tensor([[torch.inf]])]).isinf()

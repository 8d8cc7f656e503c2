"""Every form gives its constants back from noise-free runs, and its derivatives are exact."""

import numpy as np
import pytest

from planner.law.base import Array, LawBase, Point
from planner.law.fit_form import fit_law
from planner.law.form_table import FORMS
from planner.law.generic import _value_and_slopes, log_losses
from planner.law.registry import law
from planner.law.variants import MixtureLaw, OptimizerLaw, WidthDepthLaw
from tests.planner.law.ladders import noisy


def runs(*, experts: bool = False, unique: bool = False, bits: bool = False, granularity: bool = False) -> Point:
    """A wide design: sizes x tokens, with the form's other inputs varied across it."""
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(3e7, 2e10, 9), np.geomspace(1e9, 5e11, 8)))
    turn = np.arange(len(N))
    return Point(
        N,
        D,
        num_experts=np.array([1.0, 4.0, 16.0, 64.0, 128.0])[turn % 5] if experts else None,
        unique_tokens=D / np.array([1.0, 3.0, 10.0, 40.0, 100.0])[turn % 5] if unique else None,
        granularity=np.array([1.0, 2.0, 4.0, 8.0, 16.0])[turn % 5] if granularity else None,
        weight_bits=np.array([3.0, 4.0, 6.0, 8.0, 12.0])[turn % 5] if bits else None,
        activation_bits=np.array([4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 7.0])[turn % 7] if bits else None,
        kv_bits=np.array([4.0, 5.0, 6.0, 3.5])[turn // 7 % 4] if bits else None,
    )


CASES = {
    "over-training": ("gadre-2024-c4", runs()),
    "kaplan": ("kaplan-2020", runs()),
    "data-constrained": ("muennighoff-2023-repeated", runs(unique=True)),
    "fine-grained-moe": ("krajewski-2024-moe", runs(granularity=True)),
    "joint-moe": ("ludziejewski-2025-moe", runs(experts=True)),
    "precision": ("kumar-2024-precision", runs(bits=True)),
    "farseer": ("farseer-2025", runs()),
}


@pytest.mark.parametrize("form", [pytest.param(f, marks=[pytest.mark.slow] if f == "farseer" else []) for f in CASES])
def test_noise_free_runs_give_every_constant_back(form: str) -> None:
    name, at = CASES[form]
    truth = law(name).law
    found = fit_law(form, at, truth.loss(at), num_bootstraps=20)

    for constant in FORMS[form].constants:
        assert getattr(found.law, constant.name) == pytest.approx(getattr(truth, constant.name), rel=1e-6), (
            constant.name
        )


def varied() -> Point:
    """The wide design with width, depth, optimizer, share and later bits turning through their values."""
    at = runs()
    turn = np.arange(len(at.N))
    return Point(
        at.N,
        at.D,
        width=np.array([256.0, 512.0, 1024.0, 2048.0, 4096.0])[turn % 5],
        depth=np.array([4.0, 8.0, 16.0, 32.0, 64.0, 24.0, 12.0])[turn % 7],
        second_optimizer=(turn % 2).astype(np.float64),
        share=np.array([0.0, 0.25, 0.5, 0.75, 1.0])[turn % 5],
        post_bits=np.array([2.0, 3.0, 4.0, 6.0])[turn % 4],
    )


MADE_UP: dict[str, LawBase] = {
    "width-depth": WidthDepthLaw(E=1.8, A=60.0, alpha=0.6, G=2.5, gamma=0.7, B=900.0, beta=0.33),
    "optimizer": OptimizerLaw(E=1.7, A=480.0, B=2100.0, alpha=0.35, beta=0.37, rho_N=1.2, rho_D=1.4),
    "mixture": MixtureLaw(c=1.5, k=0.3, t=-1.4, A=480.0, B=2100.0, alpha=0.35, beta=0.37),
}


@pytest.mark.parametrize("form", [*MADE_UP, "quantised"])
def test_noise_free_runs_give_every_constant_of_a_variant_back(form: str) -> None:
    truth = MADE_UP[form] if form in MADE_UP else law("kumar-2024-quantised").law
    found = fit_law(form, varied(), truth.loss(varied()), num_bootstraps=20)

    for constant in FORMS[form].constants:
        assert getattr(found.law, constant.name) == pytest.approx(getattr(truth, constant.name), rel=1e-6), (
            constant.name
        )


@pytest.mark.parametrize("form", CASES)
def test_slopes_by_complex_steps_are_those_by_differences(form: str) -> None:
    name, at = CASES[form]
    truth = law(name).law
    spec = FORMS[form]
    row = np.array([np.log(getattr(truth, c.name)) if c.is_log else getattr(truth, c.name) for c in spec.constants])
    _, slopes = _value_and_slopes(spec, at, row[None])
    step = 1e-6 * np.maximum(1.0, np.abs(row))
    high, low = log_losses(spec, at, row + np.diag(step)), log_losses(spec, at, row - np.diag(step))

    assert slopes[0] == pytest.approx(((high - low) / (2 * step[:, None])).T, rel=1e-4, abs=1e-7)


def test_a_noisy_form_is_fitted_with_its_scatter_and_intervals() -> None:
    name, at = CASES["over-training"]
    truth = law(name).law
    found = fit_law("over-training", at, noisy(truth.loss(at), log_sd=0.01), num_bootstraps=300)

    assert found.status == "converged"
    assert found.noise_log_sd == pytest.approx(0.01, rel=0.3)
    low, high = found.ci95["eta"]
    assert low < getattr(truth, "eta") < high  # noqa: B009 - the union of laws has no eta


def test_an_unknown_point_input_is_the_programmers_error() -> None:
    class Needs(LawBase):
        def loss(self, at: Point) -> Array:
            return at.need("num_experts")

    with pytest.raises(ValueError, match="needs num_experts"):
        Needs().loss(runs())


def test_bits_taken_after_training_hurt_more_the_longer_it_trained() -> None:
    by = law("kumar-2024-quantised").law
    N, D, bits = np.full(2, 1e8), np.array([1e9, 1e10]), np.full(2, 4.0)
    damage = by.loss(Point(N, D, post_bits=bits)) - by.loss(Point(N, D))

    # Kumar et al. 2024: damage grows as D^0.5068 at fixed N.
    assert damage[1] / damage[0] == pytest.approx(10**0.5068)

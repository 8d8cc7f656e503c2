"""Epoch AI's 240 Chinchilla points (Besiroglu et al. 2024, arXiv 2404.10102): optimum, standard errors, allocation."""

import csv
from pathlib import Path

import numpy as np
import pytest

from planner.law.allocation import compute_for_loss, optimal_allocation
from planner.law.fit import fit_chinchilla
from planner.law.forms import Array, ChinchillaLaw
from planner.law.least_squares import least_squares
from planner.law.registry import law
from planner.law.result import FitResult
from planner.law.rows import worst

POINTS = Path(__file__).parents[2] / ".." / "shared" / "data" / "scaling" / "chinchilla_epoch_245.csv"
GOPHER_FLOP = 5.76e23

needs_points = pytest.mark.skipif(not POINTS.exists(), reason="the shared table chinchilla_epoch_245.csv is absent")


def points() -> tuple[Array, Array, Array]:
    with POINTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    N, C, loss = (np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss"))
    keep = np.setdiff1d(np.arange(len(loss)), worst(loss, num=5))
    return N[keep], (C / 6 / N)[keep], loss[keep]


def fitted(*, num_bootstraps: int = 2, weights: Array | None = None) -> FitResult:
    return fit_chinchilla(*points(), num_bootstraps=num_bootstraps, weights=weights)


@needs_points
def test_the_objective_is_below_every_published_one_and_all_starts_agree() -> None:
    result = fitted()

    # Epoch's grid of 4,500 starts published 0.00101827403; reference section 2 gives the true optimum.
    assert result.objective <= 0.00101827401781
    assert result.starts.agreeing == result.starts.tried >= 32
    assert isinstance(result.law, ChinchillaLaw)
    constants = [result.law.A, result.law.B, result.law.E, result.law.alpha, result.law.beta]
    assert constants == pytest.approx([477.8259, 2143.4174, 1.817218, 0.3473105, 0.3671724], rel=5e-7)


@needs_points
def test_the_published_resampling_gives_the_published_standard_errors() -> None:
    draw = np.random.RandomState(42)
    weights = np.stack([np.bincount(draw.choice(240, 240), minlength=240) for _ in range(4000)]).astype(np.float64)
    result = fitted(weights=weights)

    # Epoch's notebook. Their bootstrap stops short in 2 % of resamples, which moves A and B by up to 0.02 %.
    assert result.se["A"] == pytest.approx(124.52232, rel=1e-3)
    assert result.se["B"] == pytest.approx(1293.28410, rel=1e-3)
    assert result.se["E"] == pytest.approx(0.02566, abs=5e-6)
    assert result.se["alpha"] == pytest.approx(0.01540, abs=5e-6)
    assert result.se["beta"] == pytest.approx(0.02060, abs=1e-5)
    assert result.ci95["alpha"] == pytest.approx((0.317, 0.373), abs=5e-4)
    assert result.ci95["beta"] == pytest.approx((0.331, 0.415), abs=5e-4)


@needs_points
def test_least_squares_on_the_loss_end_where_variable_projection_does() -> None:
    # Reference section 2: Open-Athena's VPNLS on the 240 points.
    result = least_squares(*points())
    law = result.law
    constants, exponents = [law.E, law.A, law.B], [law.alpha, law.beta]

    assert result.sum_of_squares == pytest.approx(0.0832038076933, abs=5e-14)
    assert constants == pytest.approx([1.882814, 567.81, 7581.85], rel=1e-5)
    assert exponents == pytest.approx([0.357615, 0.427621], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "params", "tokens"),
    [
        ("chinchilla-240", 73.2e9, 1.31e12),
        ("hoffmann-2022-rounded", 32.2e9, 2.98e12),
        ("hoffmann-2022", 40.4e9, 2.38e12),
    ],
)
def test_the_laws_split_gophers_compute_as_published(name: str, params: float, tokens: float) -> None:
    best = optimal_allocation(law(name).law, GOPHER_FLOP)

    split = (best.N, best.D)
    assert split == pytest.approx((params, tokens), rel=3e-3)  # three printed digits


def test_compute_for_loss_undoes_the_allocation() -> None:
    constants = law("epoch-2024").law
    assert isinstance(constants, ChinchillaLaw)

    assert compute_for_loss(constants, optimal_allocation(constants, 1e22).loss) == pytest.approx(1e22, rel=1e-9)
    assert compute_for_loss(constants, constants.E) == float("inf")

"""The mixing law finds the mixture a known law calls best, and says when the pilots do not tell."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from data.corpus.mixing_law import PilotTable, propose, read_pilots
from data.errors import UserError

PARTS = ("builtin:stdlib", "builtin:deps", "local:1")
FLOORS, SLOPES = np.array([2.0, 1.5]), np.array([[-1.2, 0.3, 0.2], [0.4, -0.9, 0.1]])


def true_loss(shares: np.ndarray) -> np.ndarray:
    return FLOORS + np.exp(shares @ SLOPES.T)


def pilots(num_runs: int, *, noise: float, seed: int = 0) -> PilotTable:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(3), num_runs)
    return PilotTable(PARTS, ("a", "b"), shares, true_loss(shares) + noise * rng.standard_normal((num_runs, 2)))


def grid_best(high: tuple[float, ...]) -> tuple[np.ndarray, float]:
    ticks = np.linspace(0, 1, 101)
    points = np.array(
        [(x, y, 1 - x - y) for x, y in itertools.product(ticks, ticks) if x + y <= 1 and (x, y) < high[:2]]
    )
    points = points[(points <= np.array(high) + 1e-9).all(axis=1)]
    losses = true_loss(points).mean(axis=1)
    return points[losses.argmin()], float(losses.min())


def test_the_proposal_is_the_known_laws_best_mixture() -> None:
    found = propose(pilots(30, noise=0.002), unique_tokens=[10**9] * 3, num_tokens=10**9)
    best, least = grid_best((1.0, 1.0, 1.0))
    shares = np.array([part.share for part in found.parts])

    assert shares.sum() == pytest.approx(1)
    assert true_loss(shares).mean() - least < 0.005
    assert found.predicted_loss == pytest.approx(least, abs=0.01)
    assert np.abs(shares - best).max() < 0.1
    assert found.status == "clear"
    assert found.error < 0.01


def test_a_scarce_part_is_not_repeated_beyond_its_limit() -> None:
    found = propose(pilots(30, noise=0.001), unique_tokens=[10**7, 10**9, 10**9], num_tokens=10**9)

    assert found.parts[0].share == pytest.approx(0.16, abs=1e-6)
    assert found.parts[0].epochs == pytest.approx(16)


def test_no_share_leaves_what_the_pilots_tried() -> None:
    table = pilots(30, noise=0.001)
    found = propose(table, unique_tokens=[10**9] * 3, num_tokens=10**6)

    for part, low, high in zip(found.parts, table.shares.min(axis=0), table.shares.max(axis=0), strict=True):
        assert low - 1e-9 <= part.share <= high + 1e-9


def test_noise_makes_the_gain_unclear() -> None:
    assert propose(pilots(12, noise=0.5, seed=3), unique_tokens=[10**9] * 3, num_tokens=10**6).status == "unclear"


def test_limits_that_cannot_fill_the_run_are_refused() -> None:
    with pytest.raises(UserError, match="16 epochs of all parts are less than"):
        propose(pilots(9, noise=0.01), unique_tokens=[1000] * 3, num_tokens=10**6)


def test_pilots_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "pilots.csv"
    lines = [f"p{n},{n},{10 - n},{3 - n / 10}" for n in range(1, 6)]
    path.write_text("run,weight:builtin:stdlib,weight:local:1,loss:all\n" + "\n".join(lines))

    found = read_pilots(path, PARTS)
    assert found.parts == ("builtin:stdlib", "local:1")
    assert found.shares[0].tolist() == [0.1, 0.9]
    with pytest.raises(UserError, match="no part 'local:1'"):
        read_pilots(path, PARTS[:2])
    path.write_text("run,weight:builtin:stdlib,weight:local:1,loss:all\np,1,2,x\n" + "\n".join(lines))
    with pytest.raises(UserError, match="could not convert"):
        read_pilots(path, PARTS)
    path.write_text("run,loss\np,3\n")
    with pytest.raises(UserError, match="has no pilots"):
        read_pilots(path, PARTS)
    path.write_text("weight:builtin:stdlib,weight:local:1,loss:all\n1,2,3\n")
    with pytest.raises(UserError, match="1 pilots for 2 parts"):
        read_pilots(path, PARTS)

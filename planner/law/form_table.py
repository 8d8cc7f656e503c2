"""What the general solver must know of each form: its constants, which of them it moves in logarithms, where to start.

A start is drawn around a centre: constants that a Chinchilla fit of the same runs suggests, or published ones where the
form has none of those. `reach` is the standard deviation of a start, and eight of them bound the search.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.law.base import Array, Complex, LawBase
from planner.law.constrained import DataConstrainedLaw
from planner.law.forms import ChinchillaLaw, FarseerLaw, KaplanLaw, OverTrainingLaw
from planner.law.moe import FineGrainedMoeLaw, JointMoeLaw
from planner.law.precision import PrecisionLaw, QuantisedLaw
from planner.law.variants import MixtureLaw, OptimizerLaw, WidthDepthLaw


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant: its name in the law, whether the solver moves its logarithm, and the reach of a start."""

    name: str
    is_log: bool
    reach: float

    @property
    def draw_name(self) -> str:
        """Its name among draws: `log_` before a constant that is moved in logarithms."""
        return f"log_{self.name}" if self.is_log else self.name


@dataclass(frozen=True, slots=True)
class Form:
    """One form: the class of its law, its constants in order, and its centre given a Chinchilla fit of the runs."""

    law: type[LawBase]
    constants: tuple[Constant, ...]
    centre: Callable[[ChinchillaLaw], Mapping[str, float]]

    @property
    def draw_names(self) -> tuple[str, ...]:
        """The columns of its solver parameters."""
        return tuple(constant.draw_name for constant in self.constants)


def batched(law: type[LawBase], draw_names: tuple[str, ...], rows: Array | Complex) -> LawBase:
    """One unvalidated law whose constants are columns (rows, 1), to evaluate many at once; complex stays complex."""
    values: dict[str, Any] = {}
    for name, column in zip(draw_names, rows.T, strict=True):
        plain = name.removeprefix("log_")
        values[plain] = np.exp(column)[:, None] if name != plain else column[:, None]
    # Validation would refuse arrays, and complex ones are what the derivative is taken with.
    return law.model_construct(None, **values)


def _logs(names: str, reach: float) -> tuple[Constant, ...]:
    return tuple(Constant(name, is_log=True, reach=reach) for name in names.split())


def _plain(names: str, reach: float) -> tuple[Constant, ...]:
    return tuple(Constant(name, is_log=False, reach=reach) for name in names.split())


_CHINCHILLA = (*_logs("E", 0.2), *_logs("A B", 0.6), *_plain("alpha beta", 0.05))


def _same(near: ChinchillaLaw) -> dict[str, float]:
    return {"E": near.E, "A": near.A, "B": near.B, "alpha": near.alpha, "beta": near.beta}


FORMS: Mapping[str, Form] = {
    "chinchilla": Form(ChinchillaLaw, _CHINCHILLA, _same),
    "over-training": Form(
        OverTrainingLaw,
        (*_logs("E", 0.2), *_logs("a b", 0.6), *_plain("eta", 0.05)),
        lambda near: {
            "E": near.E,
            "a": near.A,
            "b": near.B * 6.0 ** ((near.alpha + near.beta) / 4),
            "eta": (near.alpha + near.beta) / 2,
        },
    ),
    "kaplan": Form(
        KaplanLaw,
        (*_logs("N_c D_c", 2.0), *_plain("alpha_N alpha_D", 0.03)),
        lambda near: {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    ),
    "farseer": Form(
        FarseerLaw,
        (
            *_plain("s", 0.05),
            *_logs("q", 0.3),
            *_plain("S", 0.4),
            *_logs("B", 0.5),
            *_plain("b", 0.03),
            *_plain("Q", 0.8),
            *_plain("A", 0.5),
            *_logs("a", 0.4),
            *_plain("E", 0.5),
        ),
        lambda near: {
            "s": -0.0625,
            "q": 0.13,
            "S": 0.1285 + np.log(max(near.E, 0.3) / 0.4),
            "B": 230.7,
            "b": -0.173,
            "Q": -1.544 + np.log(max(near.E, 0.3) / 0.4),
            "A": -1.666,
            "a": 0.0459,
            "E": 3.133,
        },
    ),
    "data-constrained": Form(
        DataConstrainedLaw,
        (*_CHINCHILLA, *_logs("R_D R_N", 0.7)),
        lambda near: {**_same(near), "R_D": 15.387756, "R_N": 5.309743},
    ),
    "fine-grained-moe": Form(
        FineGrainedMoeLaw,
        (*_logs("c", 0.2), *_logs("g", 1.0), *_plain("gamma", 0.2), *_logs("a b", 0.6), *_plain("alpha beta", 0.05)),
        lambda near: {
            "c": near.E,
            "g": 0.1 * near.A,
            "gamma": 0.58,
            "a": near.A,
            "alpha": near.alpha,
            "b": near.B,
            "beta": near.beta,
        },
    ),
    "joint-moe": Form(
        JointMoeLaw,
        (
            *_logs("a", 0.6),
            *_plain("alpha", 0.05),
            *_plain("delta", 0.2),
            *_plain("gamma", 0.01),
            *_logs("b", 0.6),
            *_plain("beta", 0.05),
            *_plain("omega", 0.2),
            *_plain("zeta", 0.01),
            *_logs("E_start", 0.3),
            *_logs("E_max", 0.5),
            *_logs("c", 0.2),
        ),
        lambda near: {
            "a": near.A,
            "alpha": -near.alpha,
            "delta": -0.23,
            "gamma": 0.01,
            "b": near.B,
            "beta": -near.beta,
            "omega": 0.3,
            "zeta": -0.02,
            "E_start": 2.07,
            "E_max": 290.0,
            "c": near.E,
        },
    ),
    "precision": Form(
        PrecisionLaw,
        (*_CHINCHILLA, *_logs("gamma_w gamma_a gamma_kv", 0.3), *_plain("n_w n_a n_kv", 0.5)),
        lambda near: {
            **_same(near),
            "gamma_w": 2.67,
            "gamma_a": 2.21,
            "gamma_kv": 0.96,
            "n_w": 0.3,
            "n_a": 1.4,
            "n_kv": 2.4,
        },
    ),
    "quantised": Form(
        QuantisedLaw,
        (*_CHINCHILLA, *_logs("C_T", 0.6), *_plain("gamma_D gamma_N", 0.05), *_logs("gamma_post", 0.3)),
        lambda near: {**_same(near), "C_T": 0.06, "gamma_D": 0.51, "gamma_N": 0.34, "gamma_post": 0.59},
    ),
    "width-depth": Form(
        WidthDepthLaw,
        (*_logs("E", 0.2), *_logs("A G B", 1.0), *_plain("alpha gamma", 0.2), *_plain("beta", 0.05)),
        # N grows as width^2 depth at a fixed ratio of both, so its exponent splits about two to one.
        lambda near: {
            "E": near.E,
            "A": near.A / 2,
            "alpha": 2 * near.alpha,
            "G": near.A / 20,
            "gamma": near.alpha,
            "B": near.B,
            "beta": near.beta,
        },
    ),
    "optimizer": Form(
        OptimizerLaw,
        (*_CHINCHILLA, *_logs("rho_N rho_D", 0.3)),
        lambda near: {**_same(near), "rho_N": 1.0, "rho_D": 1.0},
    ),
    "mixture": Form(
        MixtureLaw,
        (*_logs("c", 0.2), *_logs("k", 0.7), *_plain("t", 1.0), *_logs("A B", 0.6), *_plain("alpha beta", 0.05)),
        lambda near: {
            "c": 0.8 * near.E,
            "k": 0.2 * near.E,
            "t": -1.0,
            "A": near.A,
            "B": near.B,
            "alpha": near.alpha,
            "beta": near.beta,
        },
    ),
}

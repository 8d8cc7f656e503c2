"""The optimiser of a plan: which update each parameter gets, its state as named tensors, its rate set from outside.

AdamW is torch's fused one. Under `muon` the matrices of the layers go to Muon; the embedding, the head, the router of
experts and the gains stay with AdamW.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from executor.optim.muon import Matrix, Muon, Orthogonalise, orthogonalised
from planner.model import ModelShape
from planner.recipe import Optimiser

# Between a parameter's name and its state's: no parameter name has it.
_SEPARATOR = "/"
_TABLES = ("embedding.weight", "head.weight")
# A group's rate is the schedule's times this: under muP less than one for hidden matrices wider than the base.
_RATE_FACTOR = "rate_factor"


class Optimisers:
    """One or two of torch's optimisers, worked as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = tuple(parts)

    @property
    def parts(self) -> tuple[torch.optim.Optimizer, ...]:
        """Torch's own."""
        return self._parts

    def state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """Return the live state of a parameter by key; what is put in is used from then on."""
        for part in self._parts:
            if any(parameter is known for group in part.param_groups for known in group["params"]):
                return part.state[parameter]
        raise KeyError("no optimiser has this parameter")

    def step(self, *, rate: float) -> None:
        """Apply the gradients at `rate`."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * group[_RATE_FACTOR]
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad()

    def state_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the state as `parameter/key` tensors, not copied."""
        return {
            f"{name}{_SEPARATOR}{key}": value
            for name, parameter in model.named_parameters()
            for part in self._parts
            for key, value in part.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def restore(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state_tensors` returned.

        Raises:
            ValueError: a tensor belongs to no parameter.
        """
        parameters = dict(model.named_parameters())
        owners = {p: part for part in self._parts for group in part.param_groups for p in group["params"]}
        for name, tensor in tensors.items():
            parameter_name, key = _split(name, parameters)
            parameter = parameters[parameter_name]
            owners[parameter].state[parameter][key] = tensor


def optimisers(
    model: nn.Module,
    shape: ModelShape,
    recipe: Optimiser,
    *,
    orthogonalise: Callable[[Sequence[Matrix]], Orthogonalise] = lambda _: orthogonalised,
) -> Optimisers:
    """Return what trains `model` as `recipe` says; `orthogonalise` says how, of the matrices that Muon gets."""
    # A pipeline stage wraps its part of the decoder.
    named = {name.removeprefix("decoder."): parameter for name, parameter in model.named_parameters()}
    narrower = shape.mup_base_width / shape.width if shape.mup_base_width else 1.0
    hidden = {name: p for name, p in named.items() if p.ndim >= 2 and name not in _TABLES}
    matrices = [
        Matrix(p, _row_counts(name, p, shape))
        for name, p in hidden.items()
        if recipe.kind == "muon" and not name.endswith("router.weight")
    ]
    taken = {one.parameter for one in matrices}
    table_decay = recipe.weight_decay if recipe.decays_embedding else 0.0
    groups = [
        _group((p for p in hidden.values() if p not in taken), decay=recipe.weight_decay, rate=narrower),
        _group((p for name, p in named.items() if name in _TABLES), decay=table_decay, rate=1.0),
        _group((p for p in named.values() if p.ndim < 2), decay=0.0, rate=1.0),
    ]
    betas = (recipe.beta1, recipe.beta2)
    filled = [group for group in groups if group["params"]]
    adamw = torch.optim.AdamW(filled, lr=recipe.peak_lr, betas=betas, eps=recipe.epsilon, fused=True)
    if not matrices:
        return Optimisers((adamw,))
    muon = Muon(
        matrices,
        lr=recipe.peak_lr,
        momentum=recipe.muon_momentum,
        weight_decay=recipe.weight_decay,
        orthogonalise=orthogonalise(matrices),
    )
    # AdamW's update of a hidden matrix has a spectral norm that grows with the width, Muon's with its square root, and
    # muP wants it constant (Yang, Simon and Bernstein, arXiv:2310.17813).
    muon.param_groups[0][_RATE_FACTOR] = narrower**0.5
    return Optimisers((adamw, muon))


def _group(parameters: Iterable[nn.Parameter], *, decay: float, rate: float) -> dict[str, object]:
    return {"params": list(parameters), "weight_decay": decay, _RATE_FACTOR: rate}


def _row_counts(name: str, parameter: nn.Parameter, shape: ModelShape) -> tuple[int, ...]:
    """Return the rows of each matrix that a fused one is made of."""
    rows = parameter.shape[-2]
    if name.endswith("qkv.weight"):
        return tuple(heads * shape.head_dim for heads in (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads))
    if shape.mlp == "swiglu" and name.endswith(("up.weight", "routed.up")):
        return (rows // 2, rows // 2)
    return (rows,)


def _split(name: str, known: Iterable[str]) -> tuple[str, str]:
    parameter_name, _, key = name.partition(_SEPARATOR)
    if parameter_name not in known or not key:
        raise ValueError(f"optimiser state {name!r} belongs to no parameter")
    return parameter_name, key

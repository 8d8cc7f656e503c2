"""Optimisers: orthogonal updates, the right parameters to each, one learning rate for both kinds."""

import pytest
import torch

from executor.model.initialise import build
from executor.optim import muon
from executor.optim.muon import Matrix, Muon, orthogonal, orthogonalised
from executor.optim.optimiser import optimisers
from planner.model import ModelShape, MoeSpec
from planner.recipe import Optimiser

CPU = torch.device("cpu")
MOE = MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=8, num_dense_layers=1)
SHAPE = ModelShape(
    num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=4, ffn_width=24, vocab_size=37, is_head_tied=False,
    moe=MOE,
)  # fmt: skip


@pytest.mark.parametrize("size", [(20, 20), (12, 40), (40, 12), (3, 12, 40)])
def test_singular_values_come_near_one(size: tuple[int, ...]):
    values = torch.linalg.svdvals(orthogonal(torch.randn(size, generator=torch.Generator().manual_seed(0))))

    assert values.max() < 1.25
    assert values.min() > 0.3  # the smallest of a square random matrix is all but zero, and five steps lift it so far
    assert values.median() > 0.65


def test_a_plain_matrix_is_updated_as_by_torchs_own_muon():
    ours, theirs = (torch.nn.Parameter(torch.ones(12, 8)) for _ in range(2))
    mine = Muon([Matrix(ours, (12,))], lr=0.02, momentum=0.95, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        theirs.grad = torch.randn(12, 8, generator=generator)
        ours.grad = theirs.grad.clone()
        mine.step()
        reference.step()

    # torch's iterates in bf16, which has three digits.
    torch.testing.assert_close(ours.detach() - 1, theirs.detach() - 1, atol=3e-4, rtol=0.03)


def test_each_matrix_inside_a_fused_one_is_orthogonal_on_its_own():
    parameter = torch.nn.Parameter(torch.zeros(24, 16))
    parameter.grad = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    Muon([Matrix(parameter, (16, 8))], lr=1.0, momentum=0.0, weight_decay=0.0).step()

    query, key = parameter.detach().split((16, 8))

    torch.testing.assert_close(query, -0.2 * 4 * orthogonal(parameter.grad[:16]))
    torch.testing.assert_close(key, -0.2 * 4 * orthogonal(parameter.grad[16:]))


def test_matrices_made_orthogonal_together_are_what_they_are_alone(monkeypatch: pytest.MonkeyPatch):
    def directions() -> list[Matrix]:
        generator = torch.Generator().manual_seed(0)
        made = []
        for size, row_counts in [((24, 16), (16, 8)), ((16, 16), (16,)), ((16, 24), (16,)), ((3, 12, 16), (12,))] * 3:
            parameter = torch.nn.Parameter(torch.zeros(size))
            parameter.grad = torch.randn(size, generator=generator)
            made.append(Matrix(parameter, row_counts))
        return made

    def updates(at_once: int) -> list[tuple[torch.Size, int, torch.Tensor]]:
        monkeypatch.setattr(muon, "num_at_once", lambda like: at_once)
        return [(one.weight.shape, one.longer_side, one.direction) for one in orthogonalised(directions())]

    for alone, together in zip(updates(1), updates(4), strict=True):
        assert alone[:2] == together[:2]
        torch.testing.assert_close(alone[2], together[2], rtol=1e-5, atol=1e-6)


def moved(kind: str, **changes: object) -> dict[str, torch.Tensor]:
    """How far each parameter goes in one step of rate 0.01 on a random gradient, decay aside."""
    model = build(SHAPE, seq_len=8, seed=0, device=CPU)
    recipe = Optimiser.model_validate({"kind": kind, "peak_lr": 1.0, "weight_decay": 0.0, **changes})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimisers(model, SHAPE, recipe).step(rate=0.01)
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def test_muon_takes_the_matrices_of_the_layers_and_adamw_the_rest():
    adamw, muon = moved("adamw"), moved("muon")

    differ = {name for name in adamw if not torch.equal(adamw[name], muon[name])}
    hidden = {"attention.qkv.weight", "attention.out.weight"}
    assert differ == {
        *(f"blocks.{layer}.{name}" for layer in (0, 1) for name in hidden),
        "blocks.0.feed_forward.up.weight",
        "blocks.0.feed_forward.down.weight",
        "blocks.1.feed_forward.routed.up",
        "blocks.1.feed_forward.routed.down",
    }


def test_both_kinds_move_a_matrix_about_as_far():
    """arXiv:2502.16982: a root mean square of 0.2 to 0.4 times the rate; Adam's very first step is 1."""
    for name, change in moved("muon").items():
        if "blocks.0.feed_forward." in name or "attention.out" in name:
            assert 0.1 < change.square().mean().sqrt().item() / 0.01 < 0.25, name


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("decays_embedding", [True, False])
def test_decay_follows_the_groups(kind: str, decays_embedding: bool):
    model = build(SHAPE, seq_len=8, seed=0, device=CPU)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    recipe = Optimiser(kind=kind, peak_lr=1.0, weight_decay=0.5, decays_embedding=decays_embedding)

    optimisers(model, SHAPE, recipe).step(rate=0.1)

    for name, parameter in model.named_parameters():
        is_kept = parameter.ndim == 1 or (name in {"embedding.weight", "head.weight"} and not decays_embedding)
        torch.testing.assert_close(parameter.detach(), (1.0 if is_kept else 0.95) * before[name])


@pytest.mark.parametrize(("kind", "factor"), [("adamw", 0.25), ("muon", 0.5)])
def test_mup_lowers_the_rate_of_hidden_matrices_alone(kind: str, factor: float):
    scaled = ModelShape.model_validate({**SHAPE.model_dump(), "mup_base_width": 4})
    model = build(SHAPE, seq_len=8, seed=0, device=CPU)
    first, second = (optimisers(model, shape, Optimiser(kind=kind, peak_lr=1.0)) for shape in (SHAPE, scaled))

    def rates(of: object) -> dict[str, float]:
        groups = [(group["rate_factor"], group["params"]) for part in of._parts for group in part.param_groups]
        return {name: r for name, p in model.named_parameters() for r, ps in groups if any(p is q for q in ps)}

    plain, lowered = rates(first), rates(second)
    assert set(plain.values()) == {1.0}
    assert lowered["blocks.0.attention.qkv.weight"] == factor
    assert lowered["embedding.weight"] == lowered["head.weight"] == lowered["norm.weight"] == 1.0


def test_a_pipeline_stage_has_the_groups_of_its_decoder():
    scaled = ModelShape.model_validate({**SHAPE.model_dump(), "mup_base_width": 4})
    decoder = build(scaled, seq_len=8, seed=0, device=CPU)
    recipe = Optimiser(kind="adamw", peak_lr=1.0, weight_decay=0.5)

    def groups(model: torch.nn.Module) -> list[tuple[int, float, float]]:
        made = optimisers(model, scaled, recipe)._parts[0].param_groups
        return [(sum(p.numel() for p in it["params"]), it["weight_decay"], it["rate_factor"]) for it in made]

    assert groups(torch.nn.ModuleDict({"decoder": decoder})) == groups(decoder)

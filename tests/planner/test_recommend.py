import re
from datetime import UTC, date, datetime

import pytest

from data.catalog.models import public_model
from data.errors import InfeasibleError, UserError
from planner.candidates import at_other_batches, candidate
from planner.model import num_params
from planner.plan import load_plan, save_plan
from planner.public_models import public_shape
from planner.recipe import run_cost_usd
from planner.recommend import best_candidate, lifetime_cost_usd, recommend
from planner.request import Request, make_request
from planner.resolve import resolve
from planner.shapes import candidate_shapes

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CLUSTER = {"hardware": "h100-sxm", "num_devices": 64, "law": "epoch-2024", "budget_usd": 250_000.0}


@pytest.fixture(scope="module")
def planned(sources):
    plans = {}

    def of(**changes):
        request = make_request(CLUSTER | changes)
        if request not in plans:
            plans[request] = recommend(request, resolve(request, sources, now=NOW))
        return plans[request]

    return of


def test_the_same_request_gives_the_same_plan(planned, sources, tmp_path):
    plan = planned()
    again = recommend(plan.request, resolve(plan.request, sources, now=NOW))

    assert again == plan
    assert load_plan(save_plan(plan, tmp_path)) == plan


def test_the_90th_percentile_of_cost_stays_within_the_budget(planned):
    plan = planned()

    assert plan.predicted.cost_usd.p90 <= 250_000 * 1.01
    assert plan.caps.cost_usd == 250_000
    assert plan.predicted.probability_over_cap <= 0.11
    assert plan.binding.constraint == "budget"


def test_the_lines_add_up_to_the_expected_cost(planned):
    plan = planned()

    assert sum(line.usd for line in plan.cost_lines) == pytest.approx(plan.predicted.cost_usd.p50, rel=1e-12)


def test_a_deadline_that_binds_is_kept_at_the_90th_percentile(planned):
    plan = planned(deadline_seconds=10 * 86400.0)

    assert plan.binding.constraint == "deadline"
    assert plan.predicted.wall_seconds.p90 <= 10 * 86400 * 1.01


def test_no_other_size_of_the_same_budget_is_predicted_lower(planned):
    plan = planned()

    for alternative in plan.alternatives:
        if alternative.loss_p50 is not None:
            assert alternative.loss_p50 >= plan.predicted.loss.p50


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_more_money_never_predicts_a_higher_loss(planned, factor):
    assert planned(budget_usd=250_000 * factor).predicted.loss.p50 < planned().predicted.loss.p50


def test_a_tenth_more_of_what_binds_lowers_the_loss(planned):
    change = planned().binding.loss_change_for_10_percent_more

    assert change is not None
    assert -0.05 < change < 0


def test_few_unique_tokens_move_the_choice_to_a_larger_model_on_repeated_text(planned):
    free, scarce = planned(), planned(unique_tokens=60_000_000_000, max_epochs=16.0)

    assert scarce.data.num_epochs > 1
    assert scarce.predicted.loss.p50 > free.predicted.loss.p50
    assert scarce.data.num_tokens <= 16 * 60e9


def test_a_target_loss_is_reached_by_the_cheapest_run(planned):
    plan = planned(target_loss=2.3)

    assert plan.predicted.loss.p50 <= 2.3
    assert plan.predicted.loss.p50 == pytest.approx(2.3, abs=0.01)
    assert plan.predicted.cost_usd.p50 < 250_000 / 2


def test_served_tokens_make_the_cheapest_model_smaller(planned):
    trained = planned(target_loss=2.3)
    served = planned(target_loss=2.3, inference_tokens=5_000_000_000_000)

    assert served.model.num_params < trained.model.num_params
    assert served.data.num_tokens > trained.data.num_tokens


def test_fixed_size_and_tokens_are_obeyed(planned):
    plan = planned(num_params=7_000_000_000, num_tokens=140_000_000_000)

    assert plan.model.num_params == pytest.approx(7e9, rel=0.05)
    assert plan.data.num_tokens == pytest.approx(140e9, rel=0.01)


def test_a_model_that_exists_is_planned_as_it_is(planned):
    plan = planned(model="meta-llama/Llama-3.2-1B", vocab_size=32_000)
    public = public_shape(public_model("llama-3.2-1b"))
    fixed = planned(model="llama-3.2-1b", num_tokens=100_000_000_000, budget_usd=None)

    assert plan.model.shape == public.model_copy(update={"vocab_size": 32_000})
    assert fixed.model.shape == public
    assert fixed.data.num_tokens == pytest.approx(100e9, rel=1e-3)
    assert any("Llama-3.2-1B" in note for note in plan.warnings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "qwen3-30b-a3b"}, "is a mixture of experts"),
        ({"model": "llama-9"}, "no model is known as 'llama-9'"),
        ({"model": "qwen3-8b", "num_params": 8_000_000_000}, "its own size and experts"),
        ({"model": "qwen3-8b", "moe": True}, "its own size and experts"),
        ({"model": "qwen3-8b", "budget_usd": None}, r"both params \(or a model\) and tokens"),
    ],
)
def test_a_model_that_cannot_be_planned_is_refused(planned, fields, message):
    with pytest.raises(UserError, match=message):
        planned(**fields)


def test_gates_stand_every_tenth_of_training_with_bands_around_the_prediction(planned):
    plan = planned()

    assert len(plan.gates) == 10
    assert plan.gates[-1].step == plan.recipe.num_steps
    assert plan.gates[-1].loss_p50 == pytest.approx(plan.predicted.loss.p50, rel=1e-9)
    assert all(a.loss_p50 > b.loss_p50 for a, b in zip(plan.gates, plan.gates[1:], strict=False))


@pytest.mark.parametrize(
    "limits",
    [
        {"budget_usd": 5.0},
        {"budget_usd": 1.0, "num_devices": 8},
        {"budget_usd": 250_000.0, "deadline_seconds": 300.0},
        {"budget_usd": 250_000.0, "unique_tokens": 100_000},
        {"budget_usd": 250_000.0, "unique_tokens": 1_000},
    ],
)
def test_what_cannot_be_done_lists_changes_that_would_each_do(sources, limits):
    request = make_request(CLUSTER | limits)
    with pytest.raises(InfeasibleError) as caught:
        recommend(request, resolve(request, sources, now=NOW))

    lines = [line for line in caught.value.relaxations if line.startswith("--")]
    assert lines
    for line in lines:
        relaxed = make_request(CLUSTER | limits | _as_field(line))
        assert recommend(relaxed, resolve(relaxed, sources, now=NOW)).predicted.loss.p50 > 0


@pytest.mark.parametrize("unique_tokens", [30_000_000, 100_000_000, 1_000_000_000])
def test_more_money_than_the_text_can_use_trains_what_the_text_allows(planned, unique_tokens):
    rich, thrifty = (planned(budget_usd=usd, unique_tokens=unique_tokens, max_epochs=4.0) for usd in (1e6, 1e4))

    assert rich.binding.constraint == "unique tokens"
    assert rich.data.num_tokens <= 4 * unique_tokens
    assert rich.predicted.loss.p50 == pytest.approx(thrifty.predicted.loss.p50, rel=0.02)
    assert rich.predicted.cost_usd.p50 < 1e4


@pytest.mark.parametrize(("budget_usd", "num_devices"), [(60.0, 64), (1_800.0, 2_048), (3.0, 8)])
def test_a_run_that_is_mostly_start_stays_within_its_budget_too(planned, budget_usd, num_devices):
    plan = planned(budget_usd=budget_usd, num_devices=num_devices)

    assert plan.predicted.wall_seconds.p50 < 3 * 600
    assert plan.predicted.cost_usd.p90 <= budget_usd * 1.02
    assert plan.predicted.probability_over_cap == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("num_devices", "deadline_seconds"), [(4_096, 3_700.0), (16_384, 4_000.0)])
def test_a_deadline_holds_where_a_failure_more_or_less_decides(planned, num_devices, deadline_seconds):
    plan = planned(num_devices=num_devices, deadline_seconds=deadline_seconds, budget_usd=None)

    assert plan.predicted.goodput_fraction < 0.98
    assert plan.predicted.wall_seconds.p90 == pytest.approx(deadline_seconds, rel=0.02)


@pytest.mark.parametrize("hardware", ["h100-sxm", "a100-sxm-40gb"])
def test_more_money_than_one_device_has_memory_for(planned, hardware):
    plan = planned(hardware=hardware, num_devices=1, budget_usd=20e6)

    assert plan.predicted.memory_bytes < plan.predicted.memory_limit_bytes
    assert "no larger model fits into the memory" in plan.binding.note
    assert any("it takes" in warning and "--num-devices" in warning for warning in plan.warnings)


@pytest.mark.parametrize("num_devices", [24, 96])
def test_a_tenth_more_never_seems_to_cost_loss_where_another_batch_divides_worse(planned, num_devices):
    for budget in (40.0, 64.0, 127.0, 260.0):
        plan = planned(hardware="tpu-v4", num_devices=num_devices, budget_usd=budget * num_devices / 24)
        assert plan.binding.loss_change_for_10_percent_more < 0


@pytest.mark.parametrize("least", [100.0, 5_000.0])
def test_many_tokens_per_parameter_are_met_by_a_small_model(planned, least):
    for scarce in ({}, {"unique_tokens": 300_000_000, "vocab_size": 256}):
        plan = planned(num_devices=1, budget_usd=2_000.0, min_tokens_per_param=least, **scarce)
        assert plan.data.num_tokens >= least * plan.model.num_params


def test_more_devices_than_the_batch_wants_cost_loss_and_it_is_said(planned):
    few, many = (planned(budget_usd=20_000.0, num_devices=count) for count in (64, 4_096))
    cost = next(warning for warning in many.warnings if "the best batch" in warning)

    assert not any("the best batch" in warning for warning in few.warnings)
    assert float(re.search(r"is ([0-9.]+)% of the loss", cost)[1]) > 0.3
    assert many.predicted.trajectory[-1].loss.p50 == pytest.approx(many.predicted.loss.p50, rel=1e-9)
    assert many.gates[-1].loss_p50 == pytest.approx(many.predicted.loss.p50, rel=1e-9)


def test_a_target_is_reached_where_devices_force_a_large_batch(planned):
    best, forced = (planned(target_loss=2.6, num_devices=count) for count in (8, 2_048))

    assert forced.predicted.loss.p50 == pytest.approx(2.6, abs=2e-3)
    assert forced.predicted.loss.p50 <= 2.6
    assert forced.predicted.cost_usd.p50 > best.predicted.cost_usd.p50


@pytest.mark.parametrize("changes", [{}, {"num_devices": 2_048}, {"hardware": "gh200-96gb", "num_devices": 16}])
def test_no_batch_nearby_ends_lower(sources, changes):
    request = make_request(CLUSTER | {"budget_usd": 3_000.0} | changes)
    facts = resolve(request, sources, now=NOW)
    best, _ = best_candidate(request, facts)

    at_laws = candidate(best.shape, request, facts, guess_tokens=best.num_tokens)
    (others,) = at_other_batches([at_laws], request, facts)
    assert others
    assert best.loss <= min(one.loss for one in (at_laws, *others) if one.num_steps)


AT = {"vocab_size": 32_768, "seq_len": 2_048}


def test_sizes_are_compared_each_at_its_best_batch_where_devices_force_one(sources):
    request = make_request(CLUSTER | {"hardware": "b200-sxm", "law": "hoffmann-2022", "budget_usd": 143.0})
    facts = resolve(request, sources, now=NOW)
    best, _ = best_candidate(request, facts)

    for shape in candidate_shapes(0.3 * num_params(best.shape), 3 * num_params(best.shape), **AT):
        one = candidate(shape, request, facts, guess_tokens=best.num_tokens)
        (others,) = at_other_batches([one], request, facts)
        assert best.loss <= min(other.loss for other in (one, *others)) * 1.001


def test_a_size_at_the_fewest_tokens_per_parameter_says_so(planned):
    plan = planned(unique_tokens=1_000_000_000, max_epochs=4.0, min_tokens_per_param=5.0)

    assert "fewer" not in plan.binding.note
    assert "5 tokens a parameter" in plan.binding.note


def test_an_unreachable_target_says_what_could_be_reached(sources):
    request = make_request(CLUSTER | {"target_loss": 1.9})

    with pytest.raises(InfeasibleError, match="--target-loss 2"):
        recommend(request, resolve(request, sources, now=NOW))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget_usd": None}, "give a budget, a deadline"),
        ({"gate_fraction": 0.9}, "gate_fraction 0.9 is not in"),
        ({"budget_usd": -5}, "budget_usd"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_request_that_asks_nothing_possible_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        make_request(CLUSTER | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hardware": "h100_sxm"}, "did you mean 'h100-sxm"),
        ({"law": "epoch2024"}, "did you mean 'epoch-2024'"),
        ({"hardware": "local"}, "isoplan bench"),
        ({"corpus": "no/such/corpus"}, "no/such/corpus"),
        ({"tier": "reserved", "hardware": "rtx-5090"}, "no reserved price"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest_or_the_next_step(sources, fields, message):
    request = make_request(CLUSTER | fields)

    with pytest.raises(UserError, match=message):
        resolve(request, sources, now=NOW)


def test_the_plans_own_formula_prices_its_wall_time(planned):
    plan = planned()
    storage = next(line.usd for line in plan.cost_lines if line.name == "checkpoint storage")

    assert run_cost_usd(plan.predicted.wall_seconds.p50, plan.rates) + storage == pytest.approx(
        plan.predicted.cost_usd.p50, rel=1e-6
    )


def _as_field(line: str) -> dict[str, object]:
    name, value = re.fullmatch(r"--([a-z-]+) ([0-9.]+)s?.*", line).groups()
    field, kind = {
        "budget": ("budget_usd", float),
        "price": ("price_usd_per_device_hour", float),
        "num-devices": ("num_devices", int),
        "deadline": ("deadline_seconds", float),
        "max-epochs": ("max_epochs", float),
    }[name]
    assert field in Request.model_fields
    return {field: kind(value)}


def test_a_public_corpus_is_planned_with_and_cannot_run(planned):
    plan = planned(corpus="dclm-baseline")

    assert plan.data.unique_tokens == 3_800_000_000_000
    assert plan.data.knowledge_cutoff == date(2022, 12, 31)
    assert plan.data.corpus is None
    assert "not downloaded; licence: CC-BY-4.0" in plan.data.summary
    assert any("the plan cannot run" in warning for warning in plan.warnings)


def test_muon_is_planned_with_its_products_its_memory_and_a_warning(planned):
    sizes = {"num_params": 1_000_000_000, "num_tokens": 20_000_000_000}
    adamw, muon = planned(**sizes), planned(**sizes, optimiser="muon")

    assert muon.recipe.optimiser.kind == "muon"
    assert muon.recipe.optimiser.peak_lr == adamw.recipe.optimiser.peak_lr
    assert muon.predicted.step_seconds > adamw.predicted.step_seconds
    assert muon.predicted.memory_bytes < adamw.predicted.memory_bytes
    assert any("Muon under the law" in warning for warning in muon.warnings)


def test_fp8_is_faster_where_there_are_units_for_it_unasked_never_and_said_to_be_unpredicted(planned):
    sizes = {"num_params": 3_000_000_000, "num_tokens": 20_000_000_000}
    unasked, asked = planned(**sizes), planned(**sizes, precision="fp8")

    assert (unasked.recipe.precision, asked.recipe.precision) == ("bf16", "fp8")
    assert asked.predicted.step_seconds < unasked.predicted.step_seconds
    assert any("FP8 under the law" in warning for warning in asked.warnings)
    with pytest.raises(UserError, match="no fp8 peak"):
        planned(**sizes, precision="fp8", hardware="a100-sxm-80gb")


def test_a_run_on_an_accelerator_is_compiled_however_short(planned):
    short = planned(num_params=100_000_000, num_tokens=2_000_000, min_tokens_per_param=0.001)

    assert short.recipe.is_compiled


def test_experts_in_fp32_are_not_compiled(planned):
    asked = {"law": "ludziejewski-2025-moe", "moe": True, "optimiser": "adamw"}

    assert planned(**asked, precision="bf16").recipe.is_compiled
    assert not planned(**asked, precision="fp32").recipe.is_compiled


def test_what_muon_pushes_out_of_memory_is_no_candidate(sources, monkeypatch):
    request = make_request(CLUSTER | {"optimiser": "muon", "num_params": 1_000_000_000})
    facts = resolve(request, sources, now=NOW)

    def crowded(memory, *_, **__):
        return memory.model_copy(update={"buffers_bytes": 0.96 * facts.hardware.memory_bytes})

    monkeypatch.setattr("planner.candidates.memory_under_muon", crowded)
    with pytest.raises(InfeasibleError, match="no model of the searched sizes fits"):
        recommend(request, facts)


def test_the_batch_does_not_depend_on_a_bad_guess(sources):
    request = make_request(CLUSTER)
    facts = resolve(request, sources, now=NOW)
    best, _ = best_candidate(request, facts)
    far, near = (
        candidate(best.shape, request, facts, guess_tokens=best.num_tokens * times).sequences_per_step
        for times in (0.01, 1.0)
    )

    assert far == pytest.approx(near, rel=0.25)


@pytest.mark.parametrize("changes", [{"num_devices": 128, "budget_usd": 300.0}, {"num_devices": 8, "budget_usd": 20.0}])
def test_batches_are_climbed_until_none_nearby_is_better(sources, changes):
    request = make_request(CLUSTER | changes)
    facts = resolve(request, sources, now=NOW)
    best, _ = best_candidate(request, facts)
    (others,) = at_other_batches([best], request, facts)

    assert best.loss <= min(one.loss for one in others if one.num_steps)


def test_for_a_target_batches_are_climbed_until_none_nearby_is_cheaper(sources):
    request = make_request({"hardware": "b200-sxm", "num_devices": 64, "law": "epoch-2024", "target_loss": 3.1})
    facts = resolve(request, sources, now=NOW)
    best, _ = best_candidate(request, facts)
    (others,) = at_other_batches([best], request, facts)
    reaching = [one for one in others if one.constraint == "target loss"]

    assert reaching
    cheapest = min(lifetime_cost_usd(one, request, facts) for one in reaching)
    assert lifetime_cost_usd(best, request, facts) <= cheapest


def test_a_smaller_and_a_larger_model_stand_among_the_alternatives(planned):
    plan = planned()
    smaller, larger = (
        next(one for one in plan.alternatives if one.name.startswith(kind)) for kind in ("smaller", "larger")
    )

    assert 0.2 * plan.model.num_params < smaller.num_params <= plan.model.num_params / 1.5
    assert 1.5 * plan.model.num_params <= larger.num_params < 5 * plan.model.num_params

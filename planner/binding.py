"""What limits a plan, what a tenth more of it would bring, and why no other size is better at an edge of the sizes."""

from collections.abc import Sequence

from planner.candidates import Candidate, candidate, limits
from planner.facts import Facts
from planner.model import num_active_params, num_params
from planner.plan import Binding
from planner.request import Request
from planner.span import EXPERT_COUNTS, span

SIZE_RATIO = 1.5
"""As far as neighbouring sizes ever are apart."""


def binding(best: Candidate, feasible: Sequence[Candidate], request: Request, facts: Facts) -> Binding:
    """What decides, and the loss that a tenth more of it would buy: the shadow price."""
    loosened = {
        "budget": {"budget_usd": (request.budget_usd or 0.0) * 1.1},
        "deadline": {"deadline_seconds": (request.deadline_seconds or 0.0) * 1.1},
        "unique tokens": {"max_epochs": request.max_epochs * 1.1},
    }.get(best.constraint)
    note = _edge_note(best, feasible, request, facts)
    if best.law_model.num_experts == EXPERT_COUNTS[-1]:
        most = f"{EXPERT_COUNTS[-1]} experts are the most the law was fitted on: more may be better"
        note = f"{most}; {note}" if note else most
    if loosened is None or request.target_loss is not None:
        return Binding(constraint=best.constraint, loss_change_for_10_percent_more=None, note=note)
    more = Request.model_validate(request.model_dump() | loosened)
    # The same run, longer: another batch might divide worse, and then more would seem to bring less.
    num_tokens = (
        min(limits(best.pace, best.shape, more, facts, params=best.num_params)).num_steps * best.pace.tokens_per_step
    )
    change = facts.law.median(best.law_model, num_tokens) - best.loss
    return Binding(constraint=best.constraint, loss_change_for_10_percent_more=change, note=note)


def _edge_note(best: Candidate, feasible: Sequence[Candidate], request: Request, facts: Facts) -> str:
    """Why no larger or smaller size is better, where the best is the last of those that could be chosen."""
    sizes = sorted(one.num_params for one in feasible if one.law_model.num_experts == best.law_model.num_experts)
    if len(sizes) < 3 or best.num_params not in (sizes[0], sizes[-1]):
        return ""
    edge = "the best size is the edge of the sizes searched"
    if best.num_params == sizes[0]:
        return edge
    least = request.min_tokens_per_param
    if best.num_tokens < SIZE_RATIO * least * num_active_params(best.shape):
        return f"a larger model would read less than {least:g} tokens a parameter (--min-tokens-per-param)"
    larger = next((one for one in span(request, facts) if num_params(one) > best.num_params), None)
    if larger is None or best.law_model.num_experts > 1:
        return edge
    fits = candidate(request.choices.applied(larger), request, facts, guess_tokens=best.num_tokens)
    return edge if fits else "no larger model fits into the memory of these devices"

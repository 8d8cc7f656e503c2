"""Why one configuration loses to another, in words: the causes of a step that take more, and those that take less."""

from planner.step import StepBreakdown

WORDS = {
    "products": "matrix products",
    "attention": "attention",
    "elementwise": "memory traffic of norms and activations",
    "head": "output head",
    "recompute": "recompute",
    "tensor": "tensor-parallel traffic",
    "context": "context-parallel traffic",
    "expert": "expert-parallel traffic",
    "pipeline": "pipeline hand-over",
    "bubble": "pipeline bubble",
    "data": "data-parallel traffic",
    "offload": "activations on their way to the host",
    "optimizer": "optimizer",
    "overhead": "launch overhead",
    "stragglers": "waiting for stragglers",
}
"""The causes of `planner.step_terms` as people call them."""

WORTH_SAYING = 0.005  # of the winner's step: what is smaller explains nothing
MOST_SAID = 2


def why_more(loser: StepBreakdown, winner: StepBreakdown, *, price_ratio: float = 1.0) -> str:
    """What makes `loser` slower, each cause as a share of the winner's step, the largest first, gains after losses.

    With `price_ratio`, the loser's dollars a second over the winner's, it says what makes it dearer instead.
    """
    total = winner.step_seconds
    pairs = zip(loser.terms, winner.terms, strict=True)
    shares = [(name, (lost * price_ratio - won) / total) for (name, lost), (_, won) in pairs]
    told = sorted((one for one in shares if abs(one[1]) >= WORTH_SAYING), key=lambda one: -one[1])
    losses = [one for one in told if one[1] > 0][:MOST_SAID]
    gains = [one for one in told if one[1] < 0][-1:]
    said = [f"{WORDS[name]} {share:+.1%}" for name, share in (*losses, *gains)]
    return ", ".join(said) or f"nothing above {WORTH_SAYING:.1%}"

"""Conventional model shapes for a wanted size: discrete, hardware-friendly, with the proportions published models use.

Depth against width follows the published dense families: 12 layers at 768 (GPT-2), 16 at 2048 (OLMo 1B, Pythia 1B), 32
at 4096 (Llama-3 8B, OLMo 7B), 80 at 8192 (Llama-3 70B), 126 at 16384 (Llama-3 405B); between them the ladder below.
Loss is flat in the aspect ratio over that range (Kaplan et al. 2020, figure 5), so the nearest rung is as good as any.
Pilot sizes go on downwards at the same proportion with heads of 32 and 64.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from pydantic import ValidationError

from data.errors import UserError
from planner.model import ModelShape, MoeSpec, num_params

FFN_MULTIPLE = 256  # the feed-forward rounds up to this, as Llama's; to a quarter of it below a width of 1024
FFN_RATIO = 8.0 / 3.0  # of the width: SwiGLU's three matrices weigh what GELU's two of 4x do (Shazeer 2020)
WIDTH_PER_LAYER = ((64, 16), (512, 50), (768, 64), (2048, 96), (4096, 128), (8192, 102), (16384, 130))
"""Width and width per layer: pilots, GPT-2, OLMo 1B to Llama-3 405B; log-linear in between."""
WIDTHS = (
    *(32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2304, 2560),
    *(3072, 3584, 4096, 4608, 5120, 6144, 7168, 8192, 9216, 10240, 12288, 14336, 16384, 18432, 20480),
)
DEPTH_STEPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0)
"""Of the usual depth of a width: the range over which Kaplan's loss stays within a percent."""
MIN_PARAMS, MAX_PARAMS = 30_000, 2_000_000_000_000
DEFAULT_VOCAB = 32_768  # where nothing says

KEPT_SHAPES = 2_048
"""All widths and depths of four vocabularies, about 1 kB each: validating a hundred shapes takes 3 ms."""

KEPT_LADDERS = 64


def standard_shape(target_params: float, *, vocab_size: int, seq_len: int) -> ModelShape:
    """The conventional shape whose total parameters come nearest to `target_params`, then the most usual depth.

    Raises:
        UserError: the size is out of range, or the vocabulary alone outweighs it.
    """
    if not MIN_PARAMS <= target_params <= MAX_PARAMS:
        raise UserError(f"{target_params:.3g} parameters", expected=f"{MIN_PARAMS:.0e} to {MAX_PARAMS:.0e}")
    options = [
        (shape, abs(math.log(num_params(shape) / target_params)), abs(math.log(step)))
        for width in WIDTHS
        for step in DEPTH_STEPS
        for shape in [_shape(width, step, vocab_size=vocab_size)]
    ]
    # A percent of size is worth less than an unusual depth: 8 % of size weighs like a depth 20 % off.
    best, miss, _ = min(options, key=lambda option: option[1] + 0.4 * option[2] ** 2)
    if miss > math.log(2.0):
        raise UserError(
            f"no model of {target_params:.3g} parameters with a vocabulary of {vocab_size}",
            expected=f"{num_params(best)} is the nearest",
            next_step="use a smaller vocabulary",
        )
    return best


def custom_shape(
    *, num_layers: int, width: int, num_heads: int, num_kv_heads: int, ffn_width: int | None, vocab_size: int
) -> ModelShape:
    """A shape from its sizes; a feed-forward not given is the usual 8/3 of the width.

    Raises:
        UserError: the sizes contradict each other.
    """
    if width % num_heads:
        raise UserError(f"a width of {width} over {num_heads} heads", expected="a divisor of the width")
    try:
        return ModelShape(
            num_layers=num_layers,
            width=width,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=width // num_heads,
            ffn_width=ffn_width or usual_ffn_width(width),
            vocab_size=vocab_size,
            is_head_tied=False,
        )
    except ValidationError as error:
        raise UserError(f"not a model: {error.errors()[0]['msg']}") from error


def usual_ffn_width(width: int) -> int:
    """SwiGLU's width at the weight of a GELU feed-forward of four times `width`, rounded up."""
    multiple = FFN_MULTIPLE if width >= 1024 else FFN_MULTIPLE // 4
    return multiple * math.ceil(FFN_RATIO * width / multiple)


def with_experts(shape: ModelShape, *, num_experts: int) -> ModelShape:
    """The shape with every feed-forward replaced by `num_experts` of the same width, one visited by each token.

    As the joint law's models (Ludziejewski et al. 2025, arXiv 2502.05172); a token costs what it did, plus the router.
    """
    if num_experts == 1:
        return shape
    moe = MoeSpec(num_experts=num_experts, experts_per_token=1, expert_ffn_width=shape.ffn_width)
    return ModelShape.model_validate(shape.model_dump() | {"moe": moe})


@lru_cache(maxsize=KEPT_LADDERS)
def candidate_shapes(min_params: float, max_params: float, *, vocab_size: int, seq_len: int) -> tuple[ModelShape, ...]:
    """One conventional shape per rung of width whose total parameters lie in the range, smallest first.

    Below all of them, which a large vocabulary may make of any range, the smallest there is.

    Raises:
        UserError: it is no range, or no shape lies in it.
    """
    if not 0 < min_params <= max_params:
        raise UserError(f"{min_params:.3g} to {max_params:.3g} parameters is not a range")
    shapes = {num_params(shape): shape for shape in _every_shape(vocab_size)}
    found = [size for size in sorted(shapes) if min_params <= size <= max_params]
    if found:
        return tuple(shapes[size] for size in found)
    middle = math.sqrt(min_params * max_params)
    if middle < min(shapes):
        return (shapes[min(shapes)],)
    return (standard_shape(middle, vocab_size=vocab_size, seq_len=seq_len),)


def _every_shape(vocab_size: int) -> Iterator[ModelShape]:
    for width in WIDTHS:
        for step in (0.8, 1.0, 1.25):
            yield _shape(width, step, vocab_size=vocab_size)


@lru_cache(maxsize=KEPT_SHAPES)
def _shape(width: int, depth_step: float, *, vocab_size: int) -> ModelShape:
    head_dim = _head_dim(width)
    num_heads = width // head_dim
    return ModelShape(
        num_layers=max(2, _even(width / width_per_layer(width) * depth_step)),
        width=width,
        num_heads=num_heads,
        num_kv_heads=_kv_heads(num_heads, width),
        head_dim=head_dim,
        ffn_width=usual_ffn_width(width),
        vocab_size=vocab_size,
        # A tied head saves what a small model cannot spare; Llama-3, OLMo and Pythia untie from 1B on.
        is_head_tied=width < 2048,
    )


def _head_dim(width: int) -> int:
    """128 from Llama's widths on, 64 in GPT-2's range, 32 or 16 for pilots; always a divisor of the width."""
    wanted = 128 if width >= 2048 else 64 if width >= 512 else 32
    while width % wanted:
        wanted //= 2
    return wanted


def _kv_heads(num_heads: int, width: int) -> int:
    """Eight KV heads as Llama-3 from 4096 on, where the cache starts to cost; below, one per head as GPT-2 and OLMo."""
    if width < 4096:
        return num_heads
    return next(count for count in (8, 4, 2, 1) if num_heads % count == 0)


def width_per_layer(width: int) -> float:
    """Width over depth of published models at that width."""
    points = [(math.log(at), math.log(ratio)) for at, ratio in WIDTH_PER_LAYER]
    x = math.log(width)
    if x <= points[0][0]:
        return math.exp(points[0][1])
    for (left, low), (right, high) in pairwise(points):
        if x <= right:
            return math.exp(low + (high - low) * (x - left) / (right - left))
    return math.exp(points[-1][1])


def _even(value: float) -> int:
    return 2 * round(value / 2)

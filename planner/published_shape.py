"""The model of a row of a published table: its own sizes, and where it states too few, those of the model it names."""

import math
import re
from collections.abc import Mapping

from pydantic import ValidationError

from data.catalog.models import model_mentioned
from data.errors import UserError
from planner.attention import AttentionSpec
from planner.model import ModelShape, MoeSpec
from planner.public_models import public_shape
from planner.published_cells import count_of, text_of
from planner.shapes import DEFAULT_VOCAB, standard_shape

SHAPE_COLUMNS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "n_experts", "topk", "moe_ffn")
NEEDED_SIZES = {"layers", "hidden", "heads", "ffn", "vocab"}
_NUM_LAYERS = re.compile(r"\b(\d+)\s*(?:l|layers)\b", re.IGNORECASE)


def completed(row: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The row with what it leaves out of its model filled in, and what was filled in, in words.

    Sizes are those of the public model it names, or of a conventional dense one where parameters are all that it
    states; a feed-forward that is not four times the width has a gate.
    """
    filled, basis = _public_sizes(row)
    assumed = [f"{', '.join(f'{column} {text}' for column, text in filled.items())}: {basis}"] if filled else []
    row = {**row, **filled}
    if not (row.get("swiglu") or "").strip() and (row.get("ffn") or "").strip():
        is_gated = count_of(row, "ffn") != 4 * count_of(row, "hidden")
        row["swiglu"] = str(int(is_gated))
        assumed.append(f"swiglu {row['swiglu']}: its feed-forward is {'not ' * is_gated}four times the width")
    return row, tuple(assumed)


def _public_sizes(row: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The sizes that a row does not state, and where they come from; none where it states all that are needed."""
    stated = {column for column in (*SHAPE_COLUMNS, "swiglu") if (row.get(column) or "").strip()}
    known, basis = _known(row), f"as published of {row.get('model_name')}"
    if known is None and not stated - {"vocab"} and (row.get("n_params") or "").strip():
        known, basis = _conventional(row), f"a conventional dense model of {row['n_params']} parameters"
    if known is None:
        return {}, ""
    facts = _sizes(known) | {"swiglu": str(int(known.mlp == "swiglu"))}
    if named := _NUM_LAYERS.search(row.get("model_name") or ""):
        facts["layers"] = named[1]
    blank = {column: text for column, text in facts.items() if column not in stated}
    return (blank, basis) if blank.keys() & NEEDED_SIZES else ({}, "")


def _conventional(row: Mapping[str, str]) -> ModelShape:
    vocab_size = count_of(row, "vocab", usual=DEFAULT_VOCAB)
    return standard_shape(count_of(row, "n_params"), vocab_size=vocab_size, seq_len=count_of(row, "seq_len"))


def _sizes(shape: ModelShape) -> dict[str, str]:
    """The sizes of a shape in the columns of a row."""
    sizes = (shape.num_layers, shape.width, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.ffn_width)
    columns = dict(zip(SHAPE_COLUMNS, (*sizes, shape.vocab_size), strict=False))
    if shape.moe:
        columns |= {"n_experts": shape.moe.num_experts, "topk": shape.moe.experts_per_token}
        columns |= {"moe_ffn": shape.moe.expert_ffn_width}
    return {column: str(size) for column, size in columns.items()}


def _known(row: Mapping[str, str]) -> ModelShape | None:
    """The public model a row names; None where there is none, or where the row's own widths are another's."""
    model = model_mentioned(row.get("model_name") or "")
    if model is None:
        return None
    shape = public_shape(model)
    widths = {"hidden": shape.width, "heads": shape.num_heads, "ffn": shape.ffn_width}
    stated = ((count_of(row, column, usual=0), width) for column, width in widths.items())
    return shape if all(count in (0, width) for count, width in stated) else None


_GATED = frozenset({"1", "true", "yes", "swiglu", "silu", "geglu"})


def shape_of(row: Mapping[str, str]) -> ModelShape:
    """The model of a completed row.

    Raises:
        UserError: a size is blank or unreadable, or the sizes contradict each other.
    """
    heads, width = count_of(row, "heads"), count_of(row, "hidden")
    num_experts = count_of(row, "n_experts", usual=0)
    ffn = count_of(row, "ffn")
    known = _known(row)
    latent = known.latent if known else None
    dim = latent.head_dim if latent else count_of(row, "head_dim", usual=max(2, round(width / heads / 2) * 2))
    try:
        return ModelShape(
            num_layers=count_of(row, "layers"),
            width=width,
            num_heads=heads,
            num_kv_heads=heads if latent else count_of(row, "kv_heads", usual=heads),
            head_dim=dim,
            ffn_width=ffn,
            vocab_size=count_of(row, "vocab"),
            mlp="swiglu" if text_of(row, "swiglu").lower() in _GATED else "gelu",
            is_head_tied=False,
            has_qk_norm=False,
            attention=known.attention if known else AttentionSpec(),
            moe=_experts(row, num_experts, ffn=ffn, known=known) if num_experts > 1 else None,
            latent=latent,
        )
    except ValidationError as error:
        raise UserError(f"not a model: {error.errors()[0]['msg']}") from error


def _experts(row: Mapping[str, str], num_experts: int, *, ffn: int, known: ModelShape | None) -> MoeSpec:
    """Its experts; tables print the dense width only, so a known model's own say what else there is."""
    public = known.moe if known else None
    dense_share = public.num_dense_layers / known.num_layers if known and public else 0.0
    return MoeSpec(
        num_experts=num_experts,
        experts_per_token=count_of(row, "topk"),
        expert_ffn_width=count_of(row, "moe_ffn", usual=public.expert_ffn_width if public else ffn),
        shared_ffn_width=public.shared_ffn_width if public else 0,
        num_dense_layers=math.ceil(dense_share * count_of(row, "layers")),
    )

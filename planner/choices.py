"""What a request may choose of a model and its loss besides size: what attention sees, a soft cap, the z-loss.

No published law knows what these do to the loss, so a plan that uses one says that its law holds only if its runs had
it too (`isoplan ladder --recipe`); time, memory and FLOP count them.
"""

from collections.abc import Iterable

from pydantic import Field, ValidationError

from data.errors import UserError, nearest
from data.values import Value
from planner.attention import AttentionSpec
from planner.model import ModelShape

FULL = AttentionSpec()


class Choices(Value):
    """The plain decoder unless said; the fields are those of `ModelShape` and `Recipe`."""

    attention: AttentionSpec = FULL
    logit_softcap: float | None = Field(default=None, gt=0)
    z_loss: float = Field(default=0.0, ge=0)
    masks_documents: bool = False

    def applied(self, plain: ModelShape) -> ModelShape:
        """Return the shape with what is chosen of it."""
        if self == PLAIN:
            return plain
        chosen = {"attention": self.attention.model_dump(), "logit_softcap": self.logit_softcap}
        return ModelShape.model_validate(plain.model_dump() | chosen)

    @property
    def words(self) -> tuple[str, ...]:
        """What differs from the plain decoder, as `parse_choices` reads it back."""
        spec = self.attention
        said = {
            "window": spec.window,
            "block": spec.block,
            "sinks": spec.num_sink_blocks or None,
            "global-every": spec.global_every or None,
            "softcap": self.logit_softcap,
            "z-loss": self.z_loss or None,
            "documents": "masked" if self.masks_documents else None,
        }
        return tuple(f"{word}={value}" for word, value in said.items() if value is not None)


PLAIN = Choices()

_ATTENTION = {"window": "window", "block": "block", "sinks": "num_sink_blocks", "global-every": "global_every"}
_OTHERS = {"softcap": "logit_softcap", "z-loss": "z_loss"}
WORDS = (*_ATTENTION, *_OTHERS, "documents")


def parse_choices(words: Iterable[str]) -> Choices:
    """Read words such as `window=1024`, `global-every=4`, `softcap=30`, `z-loss=1e-4`, `documents=masked`.

    A window makes attention a sliding one, with a block too it is block sparse.

    Raises:
        UserError: an unknown word, or values that contradict each other.
    """
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    unknown = next((word for word in given if word not in WORDS), None)
    if unknown is not None:
        raise UserError(f"a recipe has no '{unknown}'", expected=nearest(unknown, WORDS))
    if given.get("documents", "masked") != "masked":
        raise UserError(f"documents={given['documents']}", expected="documents=masked")
    attention = {field: given[word] for word, field in _ATTENTION.items() if word in given}
    kind = "full" if not attention else "block_sparse" if "block" in given else "sliding_window"
    fields = {field: given[word] for word, field in _OTHERS.items() if word in given}
    try:
        # From text: Value is strict about types, JSON's numbers in strings are not what it means.
        spec = AttentionSpec.model_validate({"kind": kind} | {name: _number(text) for name, text in attention.items()})
        return Choices(
            attention=spec,
            masks_documents="documents" in given,
            **{name: _number(text) for name, text in fields.items()},
        )
    except (ValidationError, ValueError) as error:
        message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"'{' '.join(given)}' is not a recipe: {message}", next_step="isoplan plan --help") from error


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)

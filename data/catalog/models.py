"""Public models by name: the sizes that their own config files and papers state (models.csv).

Sizes are facts of the file or paper named in `source`, checked on 2026-11-27 against how litgpt 0.5.13, transformers
5.3, NVIDIA NeMo and Megatron-Bridge restate them. Vocabularies are the rows of the embedding, padding included.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from data.catalog.rows import catalog_rows
from data.errors import UserError, nearest
from data.values import Value

WORDS = ("name", "aka", "mlp", "source")


class PublicModel(Value):
    """One model. `sizes` has the columns of models.csv that are numbers; a size that the model lacks is absent."""

    name: str
    mlp: str
    sizes: Mapping[str, int]
    source: str


def public_model(text: str) -> PublicModel:
    """The model called so, in any spelling: "Llama-3.1-8B", "meta-llama/Llama-3.1-8B" and "LLAMA3.1_8B" are one.

    Raises:
        UserError: no model of the catalog.
    """
    found = _models().get("".join(_words(text)))
    if found is None:
        names = sorted({model.name for model in _models().values()})
        raise UserError(f"no model is known as '{text}'", expected=nearest(text.lower(), names))
    return found


def model_mentioned(text: str) -> PublicModel | None:
    """The model whose name `text` begins with, as in "Qwen3_30B_a3B (tokendrop)"; None where there is none."""
    words = _words(re.sub(r"\(.*?\)", " ", text))
    for num_words in range(len(words), 0, -1):
        if found := _models().get("".join(words[:num_words])):
            return found
    return None


def _words(text: str) -> list[str]:
    """The parts of a name, without the organisation before a slash; a point stays, for 1.3b is not 13b."""
    return re.findall(r"[a-z0-9.]+", text.lower().rpartition("/")[2])


@cache
def _models() -> Mapping[str, PublicModel]:
    return {"".join(_words(name)): model for model, names in _named() for name in names}


def _named() -> Iterator[tuple[PublicModel, list[str]]]:
    for row in catalog_rows("models.csv"):
        sizes = {column: int(cell) for column, cell in row.items() if cell and column not in WORDS}
        model = PublicModel(name=row["name"], mlp=row["mlp"], sizes=sizes, source=row["source"])
        yield model, [row["name"], *filter(None, row["aka"].split("|"))]

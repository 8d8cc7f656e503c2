"""What follows pretraining, as a value of a job: from which weights, by which method, on which preferences."""

from typing import Literal

from pydantic import Field, model_validator

from data.units import Count
from data.values import PathText, Value

PostMethod = Literal["full", "lora", "dpo"]


class PreferenceRef(Value):
    """A JSONL file of `prompt`, `chosen`, `rejected`: where it was, and the digest it must still have."""

    path: PathText
    sha256: str
    num_pairs: Count


class PostTraining(Value):
    """Supervised fine-tuning of all weights (`full`) or of adapters (`lora`), or `dpo` of either.

    `lora_rank` above 0 freezes the base and learns `lora_alpha / lora_rank` B A beside each matrix of the layers (Hu et
    al., arXiv:2106.09685). A sequence of a `dpo` step is a pair; `dpo_beta` weighs how far it may move from the base
    (Rafailov et al., arXiv:2305.18290).
    """

    method: PostMethod
    checkpoint: PathText = Field(description="the sealed checkpoint to start from")
    weights_xxh3: str = Field(description="xxh3-128 of its model.safetensors")
    lora_rank: int = Field(default=0, ge=0)
    lora_alpha: float = Field(default=16.0, gt=0)
    preferences: PreferenceRef | None = None
    dpo_beta: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> "PostTraining":
        if (self.method == "dpo") != (self.preferences is not None):
            raise ValueError("preferences belong to dpo, and only to it")
        if (self.method == "lora" and not self.lora_rank) or (self.method == "full" and self.lora_rank):
            raise ValueError("a rank belongs to lora, and not to full")
        return self


def flop_factor(post: PostTraining | None) -> float:
    """FLOP per token of the recipe over those of pretraining on it, adapters and clipping left out.

    Frozen weights have no gradient: a forward and the gradient of the inputs, two of three passes. A pair is two
    sequences, and the base's forward on both, which is computed once however many epochs follow, counts each time.
    """
    if post is None:
        return 1.0
    learning = 2 / 3 if post.lora_rank else 1.0
    return 2 * learning + 2 / 3 if post.method == "dpo" else learning

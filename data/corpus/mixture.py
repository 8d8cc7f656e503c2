"""Which share of the samples each part of the text gives, in an order that is still a formula of the sample index.

A block of `BLOCK_SAMPLES` samples holds a fixed number of each part (largest remainder), its slots permuted; a part's
own samples are counted by arithmetic, and each of its epochs is a permutation of its windows. So shares hold within
one block, nothing is remembered, and ranks, workers and batch sizes do not enter.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data.corpus.document import spot
from data.corpus.order import permuted_by_group
from data.errors import UserError, nearest
from data.units import Fraction, Tokens
from data.values import Value

BLOCK_SAMPLES = 1024

# Muennighoff et al. 2023 (arXiv:2305.16264): up to 4 epochs cost almost nothing, beyond 16 new epochs add little. A
# scarce part of a mixture may repeat more (arXiv:2605.12715).
SOFT_EPOCHS, HARD_EPOCHS = 4.0, 16.0
MINOR_SHARE, MINOR_SOFT_EPOCHS, MINOR_HARD_EPOCHS = 0.2, 8.0, 20.0


class Part(Value):
    """A source, or one domain of it, and its relative weight. Above `max_epochs` a run repeats it too often."""

    source: str
    domain: str = ""
    weight: float = Field(gt=0)
    max_epochs: float = Field(default=HARD_EPOCHS, gt=0)

    @property
    def name(self) -> str:
        """`source`, or `source/domain`."""
        return f"{self.source}/{self.domain}" if self.domain else self.source


class Mixture(Value):
    """Parts of the training text and their weights; what is not named is not read."""

    parts: tuple[Part, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_apart(self) -> "Mixture":
        names = [part.name for part in self.parts]
        overlaps = [p.name for p in self.parts if names.count(p.name) > 1 or (p.domain and p.source in names)]
        if overlaps:
            raise ValueError(f"the part {overlaps[0]} stands twice")
        return self


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part's place in the training tokens: [start, end), and its share of the samples."""

    name: str
    start: int
    end: int
    weight: float

    @property
    def num_tokens(self) -> int:
        """Tokens of the part."""
        return self.end - self.start


class PartEpochs(Value):
    """How often a run would read one part. `status`: `repeats` above the soft limit, `too-often` above the hard one."""

    name: str
    share: Fraction
    unique_tokens: Tokens
    epochs: float
    status: Literal["ok", "repeats", "too-often"]


def epochs(stretches: tuple[Stretch, ...], mixture: Mixture | None, *, num_tokens: int) -> tuple[PartEpochs, ...]:
    """Return the epochs of each part in a run of `num_tokens` tokens."""
    total = sum(stretch.weight for stretch in stretches)
    limits = {part.name: part.max_epochs for part in mixture.parts} if mixture else {}
    found: list[PartEpochs] = []
    for stretch in stretches:
        share = stretch.weight / total
        times = share * num_tokens / max(stretch.num_tokens, 1)
        soft, hard = (MINOR_SOFT_EPOCHS, MINOR_HARD_EPOCHS) if share < MINOR_SHARE else (SOFT_EPOCHS, HARD_EPOCHS)
        limit = limits.get(stretch.name, HARD_EPOCHS)
        hard = hard if limit == HARD_EPOCHS else limit
        status = "too-often" if times > hard else "repeats" if times > min(soft, hard) else "ok"
        found.append(
            PartEpochs(name=stretch.name, share=share, unique_tokens=stretch.num_tokens, epochs=times, status=status)
        )
    return tuple(found)


class SampleOrder:
    """From global sample indices to the tokens they start at.

    `unique_fraction` below 1 reads only that share of each part's windows, the same ones in every epoch: a pilot run
    then repeats its text as often as the run it stands for (arXiv:2606.07597).

    Raises:
        UserError: a part is shorter than one window, or has less than one sample of a block.
    """

    def __init__(
        self, stretches: tuple[Stretch, ...], *, seed: int, seq_len: int, unique_fraction: float = 1.0
    ) -> None:
        self._stretches = stretches
        self._seed, self._seq_len = seed, seq_len
        self._windows = np.array([max(0, s.num_tokens - 1) // seq_len for s in stretches], dtype=np.int64)
        for stretch, number in zip(stretches, self._windows.tolist(), strict=True):
            if number < 1:
                raise UserError(f"{stretch.num_tokens} training tokens", expected=f"at least {seq_len + 1}, one window")
        self._used = np.maximum(1, np.round(self._windows * unique_fraction)).astype(np.int64)
        self._part_starts = np.array([stretch.start for stretch in stretches], dtype=np.int64)
        self._counts = block_counts([stretch.weight for stretch in stretches])
        for stretch, count in zip(stretches, self._counts.tolist(), strict=True):
            if count < 1:
                raise UserError(
                    f"the part {stretch.name} has less than one sample in {BLOCK_SAMPLES}", next_step="a larger weight"
                )
        self._firsts = np.concatenate(([0], np.cumsum(self._counts)))

    @property
    def samples_per_epoch(self) -> int:
        """Windows there are to read, all parts together."""
        return int(self._used.sum())

    def starts(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first token of each of `samples`."""
        part, local = self.places(samples)
        return self._part_starts[part] + self._windows_read(part, local) * self._seq_len

    def places(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return of each of `samples` which part it reads, and the how-manieth sample of that part it is."""
        if len(self._stretches) == 1:
            return np.zeros_like(samples), samples
        blocks, slots = np.divmod(samples, BLOCK_SAMPLES)
        distinct, group = np.unique(blocks, return_inverse=True)
        keys = [spot(self._seed, "slots", str(block)) for block in distinct]
        slots = permuted_by_group(slots, group, sizes=[BLOCK_SAMPLES] * len(keys), keys=keys)
        part = np.searchsorted(self._firsts, slots, side="right") - 1
        return part, blocks * self._counts[part] + slots - self._firsts[part]

    def _windows_read(self, part: NDArray[np.int64], local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the window of its part that each sample reads, given how many samples of the part came before it."""
        turns, places = np.divmod(local, self._used[part])
        distinct, group = np.unique(turns * len(self._stretches) + part, return_inverse=True)
        epochs_parts = [divmod(code, len(self._stretches)) for code in distinct.tolist()]
        places = permuted_by_group(
            places,
            group,
            sizes=[int(self._used[number]) for _, number in epochs_parts],
            keys=[spot(self._seed, "order", self._stretches[number].name, str(turn)) for turn, number in epochs_parts],
        )
        if np.array_equal(self._used, self._windows):
            return places
        sizes, keys = self._windows.tolist(), [spot(self._seed, "subset", s.name) for s in self._stretches]
        return permuted_by_group(places, part, sizes=sizes, keys=keys)


def block_counts(weights: list[float]) -> NDArray[np.int64]:
    """Return how many of a block's samples each part gives: its share, rounded by largest remainder."""
    if len(weights) == 1:
        return np.array([BLOCK_SAMPLES])
    exact = np.array(weights) / sum(weights) * BLOCK_SAMPLES
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: BLOCK_SAMPLES - int(counts.sum())]] += 1
    return counts


def parse_part(text: str, known: tuple[str, ...]) -> Part:
    """Read `source=weight` or `source/domain=weight`, with `@limit` for its epochs: `builtin:deps/tests=0.2@8`.

    Raises:
        UserError: not of that form, or a part the corpus does not have.
    """
    name, _, rest = text.rpartition("=")
    weight, _, limit = rest.partition("@")
    try:
        numbers = float(weight), float(limit or HARD_EPOCHS)
    except ValueError as error:
        raise UserError(
            f"'{text}' is no weight", expected="for example builtin:deps=0.7 or builtin:deps/tests=0.2@8"
        ) from error
    if name not in known:
        raise UserError(f"the corpus has no part '{name}'", expected=nearest(name, known))
    if min(numbers) <= 0:
        raise UserError(f"'{text}' has a weight or limit that is not above zero")
    parents = [candidate for candidate in known if name.startswith(candidate + "/")]
    source = min(parents, key=len, default=name)
    return Part(source=source, domain=name[len(source) + 1 :], weight=numbers[0], max_epochs=numbers[1])

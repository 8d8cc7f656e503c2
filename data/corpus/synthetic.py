"""Sources whose entropy is known exactly: what a fitted irreducible loss must recover, and no honest loss can beat.

`markov` follows states whose successors are differently ordered but equally distributed, so that its entropy rate is
that of one Zipf law whatever the stationary distribution. `kv` states independent records (key, key, value); a key is
learnt once it is seen, so the loss falls with data as D^-a/(1+a) (Hutter 2021, arXiv:2102.04074). `pcfg` derives
sentences from a typed grammar in which no right-hand side stands twice, so that a sentence has one derivation.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from data.errors import UserError, nearest

CHUNK_TOKENS = 3 << 16  # a chunk depends on the seed and its number only; whole records and sentences fit
LEAK_STANDARD_ERRORS = 3.0


class Process(Protocol):
    """A random process over ids 0..vocab_size-1."""

    @property
    def vocab_size(self) -> int:
        """Ids it uses."""
        ...

    @property
    def entropy_nats(self) -> float:
        """Exact entropy per token."""
        ...

    def chunk(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return `CHUNK_TOKENS` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class ZipfMarkov(Process):
    """First-order chain; the r-th most likely successor of every state has probability proportional to r^-exponent."""

    num_states: int = 256
    num_successors: int = 64
    exponent: float = 1.2
    num_chains: int = 64  # a chunk is this many chains one after the other; each join costs one token its context

    @property
    @override
    def vocab_size(self) -> int:
        return self.num_states

    @property
    @override
    def entropy_nats(self) -> float:
        return entropy(zipf(self.num_successors, self.exponent))

    @override
    def chunk(self, rng: np.random.Generator) -> NDArray[np.int64]:
        fixed = np.random.default_rng(0)
        successors = np.stack(
            [fixed.permutation(self.num_states)[: self.num_successors] for _ in range(self.num_states)]
        )
        ranks = draws(zipf(self.num_successors, self.exponent), (CHUNK_TOKENS // self.num_chains, self.num_chains), rng)
        states = rng.integers(0, self.num_states, self.num_chains)
        path = np.empty_like(ranks)
        for step, rank in enumerate(ranks):
            states = successors[states, rank]
            path[step] = states
        return path.T.reshape(-1)


@dataclass(frozen=True, slots=True)
class ZipfKeyValue(Process):
    """Records of two key tokens and a value; keys follow Zipf's law with 1 + tail, values are wrong with `noise`.

    The loss is a power of the data only while rare keys are yet to be seen. Of a learner that stores what it saw once,
    the local exponent is 0.37 after 100,000 tokens and 0.43 after a million, where `data_exponent` says 0.33; with 64
    key tokens instead of 256 it would be 0.55 and 1.19.
    """

    num_key_tokens: int = 256
    num_values: int = 64
    tail: float = 0.5
    noise: float = 0.05

    @property
    @override
    def vocab_size(self) -> int:
        return self.num_key_tokens + self.num_values

    @property
    @override
    def entropy_nats(self) -> float:
        wrong = self.noise * math.log(self.num_values - 1)
        return (entropy(self._keys()) + entropy(np.array([self.noise, 1 - self.noise])) + wrong) / 3

    @property
    def data_exponent(self) -> float:
        """The beta of L = E + B / D^beta of a learner that stores what it has seen."""
        return self.tail / (1 + self.tail)

    def _keys(self) -> NDArray[np.float64]:
        return zipf(self.num_key_tokens**2, 1 + self.tail)

    @override
    def chunk(self, rng: np.random.Generator) -> NDArray[np.int64]:
        keys = draws(self._keys(), (CHUNK_TOKENS // 3,), rng)
        truth = np.random.default_rng(0).integers(0, self.num_values, self.num_key_tokens**2)[keys]
        is_wrong = rng.random(len(keys)) < self.noise
        values = (truth + is_wrong * rng.integers(1, self.num_values, len(keys))) % self.num_values
        first, second = np.divmod(keys, self.num_key_tokens)
        return np.stack([first, second, self.num_key_tokens + values], axis=1).reshape(-1)


@dataclass(frozen=True, slots=True)
class TypedGrammar(Process):
    """Sentences of 2^depth tokens; each symbol of a level has `num_rules` pairs of the level below, Zipf-weighted."""

    depth: int = 4
    num_symbols: int = 32
    num_rules: int = 4
    exponent: float = 1.0

    @property
    @override
    def vocab_size(self) -> int:
        return self.num_symbols

    @property
    @override
    def entropy_nats(self) -> float:
        per_rule = entropy(zipf(self.num_rules, self.exponent))
        return (math.log(self.num_symbols) + (2**self.depth - 1) * per_rule) / 2**self.depth

    @override
    def chunk(self, rng: np.random.Generator) -> NDArray[np.int64]:
        fixed = np.random.default_rng(0)
        sentence = rng.integers(0, self.num_symbols, (CHUNK_TOKENS // 2**self.depth, 1))
        for _ in range(self.depth):
            pairs = fixed.permutation(self.num_symbols**2)[: self.num_symbols * self.num_rules]
            rules = draws(zipf(self.num_rules, self.exponent), sentence.shape, rng)
            right = pairs[sentence * self.num_rules + rules]
            sentence = np.stack(np.divmod(right, self.num_symbols), axis=-1).reshape(len(sentence), -1)
        return sentence.reshape(-1)


PROCESSES: dict[str, Process] = {
    # Of 64 states: a model of 100,000 parameters learns their 2,048 successors, where those of 256 are 16,384.
    "markov": ZipfMarkov(num_states=64, num_successors=32),
    "kv": ZipfKeyValue(),
    "pcfg": TypedGrammar(),
}
PREFIX = "builtin:synthetic/"


def process(name: str) -> Process:
    """Return the process of the source `builtin:synthetic/NAME`.

    Raises:
        UserError: no such process.
    """
    short = name.removeprefix(PREFIX)
    if short not in PROCESSES:
        raise UserError(f"no source '{name}'", expected=nearest(name, [PREFIX + known for known in PROCESSES]))
    return PROCESSES[short]


def tokens(source: Process, *, seed: int, first: int, number: int) -> NDArray[np.int64]:
    """Return tokens [first, first + number) of the endless text of `source` with this seed, read anywhere."""
    chunks = range(first // CHUNK_TOKENS, (first + number - 1) // CHUNK_TOKENS + 1)
    text = np.concatenate([source.chunk(np.random.default_rng((seed, chunk))) for chunk in chunks])
    start = first - chunks.start * CHUNK_TOKENS
    return text[start : start + number]


def leak_alarm(loss: float, *, standard_error: float, entropy_nats: float) -> str:
    """Return what is wrong when a held-out loss lies below the exact entropy, or nothing.

    Below the entropy by more than `LEAK_STANDARD_ERRORS` there is no honest explanation: held-out text was trained on,
    or the loss is computed wrongly.
    """
    if loss >= entropy_nats - LEAK_STANDARD_ERRORS * standard_error:
        return ""
    return (
        f"the held-out loss {loss:.4f} ± {standard_error:.4f} lies below the entropy {entropy_nats:.4f} of the source: "
        "held-out text was trained on, or the loss is wrong"
    )


def zipf(number: int, exponent: float) -> NDArray[np.float64]:
    """Return probabilities proportional to rank^-exponent, shape (number,)."""
    weights = np.arange(1, number + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def entropy(probabilities: NDArray[np.float64]) -> float:
    """Return the entropy in nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def draws(probabilities: NDArray[np.float64], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return independent draws of 0..n-1, of that shape."""
    cumulative = np.cumsum(probabilities)
    return np.searchsorted(cumulative / cumulative[-1], rng.random(shape), side="right")


def chunks_of(source: Process, *, seed: int, number: int) -> Iterator[NDArray[np.int64]]:
    """Yield the first `number` tokens of the text of `source`, piece by piece."""
    for first in range(0, number, CHUNK_TOKENS):
        yield tokens(source, seed=seed, first=first, number=min(CHUNK_TOKENS, number - first))

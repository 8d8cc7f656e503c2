"""Which documents stay: one of each text, one of each near copy, and no more than asked for."""

import numpy as np
from numpy.typing import NDArray

from data.corpus.manifest import BuildConfig
from data.corpus.near import near_duplicates

KEPT, DUPLICATE, NEAR_DUPLICATE, SURPLUS = 0, 1, 2, 3
REASONS = {
    DUPLICATE: ("dedup", "the same text stands elsewhere"),
    NEAR_DUPLICATE: ("dedup", "nearly the same text stands elsewhere"),
    SURPLUS: ("surplus", "beyond the tokens asked for"),
}


def verdicts(rows: NDArray[np.void], domains: NDArray[np.int64], config: BuildConfig) -> NDArray[np.uint8]:
    """Return the verdict on each row; `domains` numbers its domain.

    Of copies the held-out one stays, so that no held-out text is trained on; else the latest dated, else the first.
    """
    found = np.full(len(rows), KEPT, dtype=np.uint8)
    order = np.lexsort((-rows["day"].astype(np.int64), ~rows["is_heldout"]))
    if config.dedup != "off":
        _, first = np.unique(rows["text_digest"][order], return_index=True)
        is_copy = np.ones(len(rows), dtype=np.bool_)
        is_copy[order[first]] = False
        found[is_copy] = DUPLICATE
    if config.dedup == "near":
        order = order[found[order] == KEPT]
        found[near_duplicates(rows["bands"], rows["sketch"], order)] = NEAR_DUPLICATE
    if config.max_tokens:
        found[_surplus(rows, domains, (found == KEPT) & ~rows["is_heldout"], config.max_tokens)] = SURPLUS
    return found


def _surplus(
    rows: NDArray[np.void], domains: NDArray[np.int64], is_train: NDArray[np.bool_], max_tokens: int
) -> NDArray[np.int64]:
    """The training rows too many: each domain keeps its share of `max_tokens`, documents in hash order."""
    tokens = rows["num_tokens"].astype(np.int64)
    share = max_tokens / max(int(tokens[is_train].sum()), 1)
    if share >= 1:
        return np.empty(0, dtype=np.int64)
    surplus: list[NDArray[np.int64]] = []
    for domain in np.unique(domains[is_train]):
        own = np.flatnonzero(is_train & (domains == domain))
        own = own[np.argsort(rows["priority"][own], kind="stable")]
        reached = np.cumsum(tokens[own])
        surplus.append(own[reached > share * reached[-1]])
    return np.concatenate(surplus)


def with_fallback_heldout(rows: NDArray[np.void], fraction: float) -> NDArray[np.void]:
    """Hold out documents by hash where no group could be: a single file of text, or a few records."""
    if fraction == 0 or rows["is_heldout"].any() or len(rows) < 2:
        return rows
    order = np.argsort(rows["priority"], kind="stable")[::-1]
    wanted = fraction * rows["num_tokens"].sum()
    reached = np.cumsum(rows["num_tokens"][order].astype(np.int64))
    number = min(len(rows) - 1, int(np.searchsorted(reached, wanted)) + 1)
    changed = rows.copy()
    changed["is_heldout"][order[:number]] = True
    return changed

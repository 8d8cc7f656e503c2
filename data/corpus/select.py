"""Which entries are held out, and which are read when only part of the text is wanted. Decided before reading."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from data.corpus.document import Entry, spot
from data.corpus.local import is_records

HELDOUT_SLACK = 1.5  # a group may overshoot its domain's held-out bytes by this; groups are lumps
# At most this multiple of the fraction of a domain's groups is held out: one enormous file must not take all others.
MAX_GROUP_SHARE = 2.0


def with_heldout(entries: tuple[Entry, ...], *, fraction: float, seed: int) -> tuple[Entry, ...]:
    """Mark about `fraction` of each domain's bytes as held out, whole groups at a time, groups in hash order.

    Records files are split by row instead, when they are read. A domain whose every group is too large stays in
    training, unless nothing else is held out: then its smallest group is, if it has two.
    """
    files = [entry for entry in entries if not is_records(entry.name)]
    groups = _heldout_groups(files, fraction=fraction, seed=seed)
    return tuple(replace(entry, is_heldout=entry.group in groups and not is_records(entry.name)) for entry in entries)


def _heldout_groups(files: list[Entry], *, fraction: float, seed: int) -> set[str]:
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in files:
        sizes[entry.group][entry.domain] += entry.num_bytes
    totals = _domain_bytes(sizes.values())
    taken: dict[str, float] = dict.fromkeys(totals, 0.0)
    left = {domain: math.ceil(MAX_GROUP_SHARE * fraction * number) for domain, number in _main_domains(sizes).items()}
    chosen: set[str] = set()
    for group in sorted(sizes, key=lambda name: spot(seed, "heldout", name)):
        main = _main_domain(sizes[group])
        is_wanted = taken[main] < fraction * totals[main] and left[main] > 0
        fits = all(
            taken[domain] + size <= HELDOUT_SLACK * fraction * totals[domain] for domain, size in sizes[group].items()
        )
        if is_wanted and fits:
            chosen.add(group)
            left[main] -= 1
            for domain, size in sizes[group].items():
                taken[domain] += size
    if not chosen and len(sizes) > 1:
        chosen.add(min(sizes, key=lambda name: (sum(sizes[name].values()), name)))
    return chosen


def _main_domain(group: Mapping[str, int]) -> str:
    return max(group, key=lambda domain: (group[domain], domain))


def _main_domains(sizes: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    return Counter(_main_domain(group) for group in sizes.values())


def _domain_bytes(groups: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for group in groups:
        for domain, size in group.items():
            totals[domain] += size
    return totals


def subset(entries: tuple[Entry, ...], budget_bytes: Mapping[str, float], *, seed: int) -> tuple[Entry, ...]:
    """Return the entries to read so that each domain gives about its `budget_bytes` of text, in their order.

    Files are taken in hash order until the budget is met; records files are all read, each to its share.
    """
    chosen: dict[str, Entry] = {}
    totals = _domain_bytes({entry.domain: entry.num_bytes} for entry in entries)
    left = dict(budget_bytes)
    for entry in sorted(entries, key=lambda entry: spot(seed, "subset", entry.name)):
        if is_records(entry.name):
            share = budget_bytes[entry.domain] * entry.num_bytes / max(totals[entry.domain], 1)
            chosen[entry.name] = replace(entry, limit_bytes=max(1, round(share)))
        elif left[entry.domain] > 0:
            # Of a long text file the rest of the budget; other files are read whole.
            chosen[entry.name] = replace(entry, limit_bytes=max(1, round(left[entry.domain])))
            left[entry.domain] -= entry.num_bytes
    return tuple(chosen[entry.name] for entry in entries if entry.name in chosen)

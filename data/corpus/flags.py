"""What a person should hear of a corpus before paying for a run on it. Facts with their numbers, no verdict."""

from data.corpus.document import UNKNOWN_LICENCE
from data.corpus.manifest import Manifest

# Assumptions, not measured: where a share is worth a sentence. A held-out text of 20,000 tokens knows its mean loss to
# about 1 %, at a standard deviation of 1.5 nats a token.
UNDATED_SHARE = 0.05
UNLICENSED_SHARE = 0.01
DOMINANT_SHARE = 0.8
DUPLICATE_SHARE = 0.2
SMALL_HELDOUT_TOKENS = 20_000


def flags(manifest: Manifest) -> tuple[str, ...]:
    """Return one sentence for each thing to know about the training text."""
    found = (_undated(manifest), _unlicensed(manifest), _dominant(manifest), _repeated(manifest), *_heldout(manifest))
    return tuple(sentence for sentence in found if sentence)


def _undated(manifest: Manifest) -> str:
    share = manifest.cutoff.undated_fraction
    if share < UNDATED_SHARE or manifest.entropy_nats is not None:
        return ""
    return f"{share:.0%} of the training tokens state no date, so the knowledge cutoff does not hold for them"


def _unlicensed(manifest: Manifest) -> str:
    total = sum(source.num_tokens for source in manifest.sources)
    unknown = sum(x.num_tokens for s in manifest.sources for x in s.licences if x.licence == UNKNOWN_LICENCE)
    return f"{unknown / total:.0%} of the tokens state no licence" if unknown > UNLICENSED_SHARE * total else ""


def _dominant(manifest: Manifest) -> str:
    total = max(manifest.train.num_tokens, 1)
    largest = max(manifest.train.domains, key=lambda count: count.num_tokens, default=None)
    if largest is None or largest.num_tokens < DOMINANT_SHARE * total or manifest.entropy_nats is not None:
        return ""
    return f"{largest.num_tokens / total:.0%} of the training tokens are one domain: {largest.source} {largest.domain}"


def _repeated(manifest: Manifest) -> str:
    if manifest.measures is None:
        return ""
    share = manifest.measures.exact_duplicate_fraction + manifest.measures.near_duplicate_fraction
    return f"{share:.0%} of the documents were copies and left out" if share > DUPLICATE_SHARE else ""


def _heldout(manifest: Manifest) -> tuple[str, ...]:
    here = {(count.source, count.domain) for count in manifest.heldout.domains}
    absent = [f"{c.source} {c.domain}" for c in manifest.train.domains if (c.source, c.domain) not in here]
    number = manifest.heldout.num_tokens
    return (
        f"only {number:,} held-out tokens: losses will be uncertain" if number < SMALL_HELDOUT_TOKENS else "",
        f"no held-out text of {', '.join(absent)}" if absent else "",
    )

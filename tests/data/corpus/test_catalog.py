"""The catalog of public corpora."""

import re

import pytest

from data.catalog.corpora import corpus, corpus_names
from data.errors import UserError


def test_fineweb_edu_is_as_its_card_states() -> None:
    fineweb_edu = corpus("fineweb-edu")

    assert fineweb_edu.num_tokens == 1_300_000_000_000  # dataset card of HuggingFaceFW/fineweb-edu
    assert fineweb_edu.licence == "ODC-By 1.0"
    assert fineweb_edu.knowledge_cutoff == ""  # not confirmed, so unknown


def test_seen_tokens_are_not_unique_tokens() -> None:
    assert corpus("txt360").num_tokens == 5_000_000_000_000  # 15T after upsampling


@pytest.mark.parametrize("name", corpus_names())
def test_every_corpus_has_a_source_and_an_honest_cutoff(name: str) -> None:
    found = corpus(name)

    assert found.source.url.startswith("https://")
    assert re.fullmatch(r"(20\d\d(-\d\d(-\d\d)?)?(-20\d\d)?)?", found.knowledge_cutoff)


def test_an_unknown_corpus_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'fineweb-edu'"):
        corpus("fineweb-edo")

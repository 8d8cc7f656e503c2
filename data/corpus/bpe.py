"""Byte-level BPE: trained by `tokenizers`, kept as a Hugging Face `tokenizer.json`, run by tiktoken (about 10x faster).

Both read the same merges. A trained vocabulary is written with every split of every token as a merge, the way Hugging
Face converts tiktoken files; without that, tiktoken could merge a pair the file does not list. Every tokenizer is
compared on a probe and runs through `tokenizers` itself where tiktoken does not reproduce it.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tiktoken
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from data.canonical import Json
from data.errors import UserError

END_OF_TEXT = "<|endoftext|>"
# The GPT-4 split (openai/tiktoken, cl100k_base, MIT) with numbers cut at two digits as in karpathy/nanochat (MIT):
# with small vocabularies three-digit tokens waste entries.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
MIN_VOCAB = 257  # every byte, and the end of text
# The trainer joins pairs of a word in time that grows with the square of its length: 5 MB of one letter took hours.
_LONG_RUN = re.compile(r"(\S{1024})\S+|(\s{1024})\s+")


class Tokenizer:
    """Text to ids. `token_bytes[id]` is how many bytes of text an id stands for; special tokens stand for none.

    `probe` is text on which tiktoken must agree with the file; where it does not, the file's own encoder is used.
    """

    def __init__(self, content: bytes, *, probe: str = "") -> None:
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._exact = tokenizers.Tokenizer.from_str(content.decode())
        self._exact.encode_special_tokens = True  # a special token spelt in a text is text
        self.vocab_size = self._exact.get_vocab_size(with_added_tokens=True)
        self.end_id = _end_id(self._exact)
        self.token_bytes = _token_bytes(self._exact, self.vocab_size)
        fast = _tiktoken(content)
        agrees = fast is not None and np.array_equal(_encode(fast, probe), self.encode_exactly(probe))
        self._fast = fast if agrees else None

    @property
    def is_fast(self) -> bool:
        """Whether tiktoken reproduces this tokenizer, so that it does the encoding."""
        return self._fast is not None

    def encode(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of `text`; words that spell a special token are text, not that token."""
        if self._fast is None:
            return self.encode_exactly(text)
        try:
            return _encode(self._fast, text)
        except ValueError:  # half a million spaces in a row exhaust the stack of tiktoken's expressions
            return self.encode_exactly(text)

    def encode_exactly(self, text: str) -> NDArray[np.uint32]:
        """Return the ids `tokenizers` itself gives: what `encode` must equal."""
        return np.array(self._exact.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def text_bytes(self, ids: NDArray[np.integer]) -> bytes:
        """Return the bytes that `ids` spell; a cut through a character stays a cut."""
        return self._fast.decode_bytes(ids.tolist()) if self._fast is not None else self.decode(ids).encode()

    def decode(self, ids: NDArray[np.integer]) -> str:
        """Return the text of `ids`, without special tokens."""
        return self._exact.decode(ids.tolist(), skip_special_tokens=True)


def load(path: Path, *, probe: str = "") -> Tokenizer:
    """Return the tokenizer of a Hugging Face `tokenizer.json`; `probe` as in `Tokenizer`.

    Raises:
        UserError: no such file, not a tokenizer, or no end-of-text token in it.
    """
    try:
        return Tokenizer(path.read_bytes(), probe=probe)
    except OSError as error:
        raise UserError(f"cannot read the tokenizer '{path}': {error.strerror}") from error
    except UserError:
        raise
    except Exception as error:  # tokenizers raises bare Exception for a bad file
        raise UserError(f"'{path}' is not a Hugging Face tokenizer.json: {error}") from error


def train(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE of at most `vocab_size` ids learnt from `texts`; fewer where pairs run out.

    Of a run without a space, or of spaces alone, the first 1024 characters are learnt from.

    Raises:
        UserError: a vocabulary too small to hold every byte.
    """
    if vocab_size < MIN_VOCAB:
        raise UserError(
            f"a vocabulary of {vocab_size}", expected=f"at least {MIN_VOCAB}: every byte and the end of text"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_LONG_RUN.sub(r"\1\2", text) for text in texts), trainer)
    return Tokenizer(_file(tokenizer.get_vocab()))


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _file(ranks: dict[str, int]) -> bytes:
    """The tokenizer.json of these ranks: every split of every token is a merge, and the end of text comes last."""
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=ranks, merges=_merges(ranks)))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str(pretty=False).encode()


def _merges(ranks: dict[str, int]) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in splits if left in ranks and right in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def _byte_of() -> dict[str, int]:
    """GPT-2's spelling of bytes as printable characters, inverted (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTE_OF = _byte_of()
_GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # openai/gpt-2, encoder.py
# The end of both patterns. Its look-ahead makes tiktoken's engine walk the whole pattern step by step; with the rest in
# a group of its own, the rest runs as one automaton: 10.5 -> 23 MB a CPU second, the same pieces. A possessive
# quantifier does the same harm, and where what follows cannot match inside what it took, a plain one means the same.
_SPACES = r"|\s+(?!\S)|\s+"
_PLAIN = {
    r"[^\r\n\p{L}\p{N}]?+\p{L}+": r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\s\p{L}\p{N}]++[\r\n]*": r"[^\s\p{L}\p{N}]+[\r\n]*",
}
_END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")


def _encode(fast: tiktoken.Encoding, text: str) -> NDArray[np.uint32]:
    return fast.encode_to_numpy(text, disallowed_special=())


def _tiktoken(content: bytes) -> tiktoken.Encoding | None:
    """The same merges as a tiktoken encoding, or None where the file does something tiktoken cannot."""
    file = json.loads(content)
    model, pattern = file["model"], _pattern(file.get("pre_tokenizer"))
    is_plain = model.get("type") == "BPE" and not (model.get("dropout") or model.get("ignore_merges"))
    if pattern is None or not is_plain or file.get("normalizer") is not None:
        return None
    added = {token["content"]: token["id"] for token in file["added_tokens"]}
    try:
        ranks = {_bytes_of(token): rank for token, rank in model["vocab"].items() if token not in added}
        return tiktoken.Encoding("isoplan", pat_str=_quick(pattern), mergeable_ranks=ranks, special_tokens=added)
    except (KeyError, ValueError):
        return None


def _pattern(pre_tokenizer: Json) -> str | None:
    """The split pattern of a byte-level pre-tokenizer, or None for any other."""
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    if not isinstance(pre_tokenizer, dict):
        return None
    if {**pre_tokenizer, "trim_offsets": True} == {**plain, "use_regex": True}:
        return _GPT2_PATTERN
    parts = pre_tokenizer.get("pretokenizers")
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, dict) for part in parts):
        return None
    split, byte_level = parts
    assert isinstance(split, dict)
    assert isinstance(byte_level, dict)
    regex = split.get("pattern")
    pattern = regex.get("Regex") if isinstance(regex, dict) else None
    is_split = split == {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    is_byte_level = {**byte_level, "trim_offsets": True} == {**plain, "use_regex": False}
    return pattern if isinstance(pattern, str) and is_split and is_byte_level else None


def _quick(pattern: str) -> str:
    """The same pattern, written so that tiktoken's engine runs it fast; any other pattern as it is."""
    head = pattern.removesuffix(_SPACES)
    if head == pattern:
        return pattern
    for slow, plain in _PLAIN.items():
        head = head.replace(slow, plain)
    return f"(?:{head}){_SPACES}"


def _bytes_of(token: str) -> bytes:
    return bytes(_BYTE_OF[character] for character in token)


def _end_id(tokenizer: tokenizers.Tokenizer) -> int:
    for name in _END_NAMES:
        if (found := tokenizer.token_to_id(name)) is not None:
            return found
    raise UserError("the tokenizer has no end-of-text token", expected=f"one of {', '.join(_END_NAMES)}")


def _token_bytes(tokenizer: tokenizers.Tokenizer, vocab_size: int) -> NDArray[np.uint16]:
    """Bytes of text by id. A token that is not spelt in GPT-2's byte alphabet counts as its UTF-8 length."""
    special = {id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    sizes = np.zeros(vocab_size, dtype=np.uint16)
    for token, id_ in tokenizer.get_vocab(with_added_tokens=True).items():
        if id_ < vocab_size and id_ not in special:
            is_spelt = all(character in _BYTE_OF for character in token)
            sizes[id_] = len(token) if is_spelt else len(token.encode())
    return sizes

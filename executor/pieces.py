"""Tensors cut into rectangles, and files of them: what lets a checkpoint of any layout load into any other.

A `Piece` is a rectangle of a named whole. One rank's pieces go into one safetensors file: a piece that is the whole
tensor under its name, any other as `name@row,column` with the whole's shape in the file's metadata. The same pieces
make the same bytes. A reader asks for any rectangle and gets it put together from whatever pieces cover it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.errors import UserError

Indices = tuple[int, ...]
_AT = "@"
# One entry for all: safetensors writes several in an order that differs from file to file.
_WHOLES = "whole_shapes"
_WHOLE_SHAPES = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class Piece:
    """The rectangle of `name`, whose whole shape is `whole`, that begins at `offset`. `tensor` is not a copy."""

    name: str
    tensor: Tensor
    offset: Indices
    whole: Indices

    @property
    def key(self) -> str:
        """Its name in a file."""
        is_whole = tuple(self.tensor.shape) == self.whole
        return self.name if is_whole else f"{self.name}{_AT}{_text(self.offset)}"


def whole_piece(name: str, tensor: Tensor) -> Piece:
    """Return a tensor as the one piece it is."""
    return Piece(name, tensor, (0,) * tensor.ndim, tuple(tensor.shape))


def write_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Write one file of pieces.

    Raises:
        OSError: the disk is full or broken.
    """
    tensors: dict[str, Tensor] = {}
    wholes: dict[str, str] = {}
    for piece in pieces:
        tensors[piece.key] = piece.tensor.detach().cpu().contiguous()
        if piece.key != piece.name:
            wholes[piece.key] = _text(piece.whole)
    try:
        save_file(tensors, path, metadata={_WHOLES: json.dumps(wholes, sort_keys=True)} if wholes else None)
    except SafetensorError as error:  # its only word for whatever the system said
        raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Stored:
    path: Path
    key: str
    offset: Indices
    shape: Indices
    whole: Indices


class StoredTensors:
    """The tensors of one kind (`model`, `optimiser`) in a checkpoint folder, over one file or many."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._pieces: dict[str, list[_Stored]] = {}
        for path in sorted(folder.glob(f"{kind}*.safetensors")):
            for stored in _contents(path):
                self._pieces.setdefault(stored.key.partition(_AT)[0], []).append(stored)

    def wholes(self) -> Mapping[str, Indices]:
        """Return the whole shape of each tensor by name."""
        return {name: stored[0].whole for name, stored in self._pieces.items()}

    def read(self, name: str, *, offset: Indices, shape: Indices) -> Tensor:
        """Return a rectangle of a tensor, on the CPU.

        Raises:
            UserError: the pieces do not cover it.
        """
        out: Tensor | None = None
        num_filled = 0
        for stored in self._pieces.get(name, ()):
            begin = tuple(max(a, b) for a, b in zip(offset, stored.offset, strict=True))
            end = tuple(
                min(a + n, b + m) for a, n, b, m in zip(offset, shape, stored.offset, stored.shape, strict=True)
            )
            if any(a >= b for a, b in zip(begin, end, strict=True)):
                continue
            part = _slice(stored, begin, end)
            if out is None:
                out = torch.empty(shape, dtype=part.dtype)
            out[tuple(slice(a - o, b - o) for a, b, o in zip(begin, end, offset, strict=True))] = part
            num_filled += part.numel()
        if out is None or num_filled != out.numel():
            raise UserError(f"the checkpoint holds {num_filled} of the values of {name} that were asked for")
        return out

    def read_whole(self, name: str) -> Tensor:
        """Return a whole tensor, on the CPU."""
        whole = self._pieces[name][0].whole
        return self.read(name, offset=(0,) * len(whole), shape=whole)


def _slice(stored: _Stored, begin: Indices, end: Indices) -> Tensor:
    with safe_open(stored.path, "pt") as file:
        if not stored.shape:
            return file.get_tensor(stored.key)
        slices = tuple(slice(a - o, b - o) for a, b, o in zip(begin, end, stored.offset, strict=True))
        return file.get_slice(stored.key)[slices]


def _contents(path: Path) -> list[_Stored]:
    try:
        with safe_open(path, "pt") as file:
            wholes = _WHOLE_SHAPES.validate_json((file.metadata() or {}).get(_WHOLES, "{}"))
            return [_stored(path, key, tuple(file.get_slice(key).get_shape()), wholes) for key in file.keys()]  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is not a file of tensors: {error}") from error


def _stored(path: Path, key: str, shape: Indices, wholes: Mapping[str, str]) -> _Stored:
    if _AT not in key:
        return _Stored(path, key, (0,) * len(shape), shape, shape)
    return _Stored(path, key, _indices(key.partition(_AT)[2]), shape, _indices(wholes.get(key, "")))


def _text(indices: Indices) -> str:
    return ",".join(str(index) for index in indices)


def _indices(text: str) -> Indices:
    return tuple(int(part) for part in text.split(","))

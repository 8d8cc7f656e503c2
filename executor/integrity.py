"""Silent corruption in memory: a bit that flips in a weight or a moment is found before it is used for an update.

Loss and gradient norm do not show it (docs/log.md). Weights and moments change in one place only, the optimizer's
update, so their hash right after one update must be their hash right before the next. Gradients exist only inside a
step: a sampled step is computed twice and must give the same bits.

An accelerator's memory corrects single flipped bits itself, and hashing it all takes time that training could use:
there one update in `ACCELERATOR_EVERY_UPDATES` is watched.
"""

from collections.abc import Callable, Iterable

import torch
import xxhash
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

RERUN_EVERY_STEPS = 256
"""A step in so many is computed twice: 0.4 % of the time. On the CPU only, where the same step gives the same bits."""


ACCELERATOR_EVERY_UPDATES = 32
"""Twice twelve bytes a parameter are read to watch one update: on an H200 31 ms at 1.3B parameters, whose step of 8192
tokens takes 138 ms and one of a usual batch seconds."""


class CorruptedError(ArithmeticError):
    """Memory is not as it was left. Nothing was updated or saved; the last sealed checkpoint is good."""


class AtRest:
    """What named tensors were when they were last changed on purpose."""

    def __init__(self, tensors: Callable[[], Iterable[tuple[str, Tensor]]]) -> None:
        self._tensors = tensors
        self._known: dict[str, int] = {}
        self._views: dict[str, tuple[int, memoryview]] = {}
        self._num_updates = 0

    def note(self) -> None:
        """Take the tensors as right: call it after every change."""
        is_watched = self._num_updates % ACCELERATOR_EVERY_UPDATES == 0 or not self._is_on_accelerator()
        self._known = self._hashes() if is_watched else {}
        self._num_updates += 1

    def verify(self, *, when: str) -> None:
        """Compare them with what was noted.

        Raises:
            CorruptedError: names those that changed.
        """
        if not self._known:
            return
        changed = [name for name, found in self._hashes().items() if found != self._known.get(name, found)]
        if changed:
            raise CorruptedError(
                f"{when}: {', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''} changed in memory "
                "since the last update; resume goes on from the last sealed checkpoint"
            )

    def _is_on_accelerator(self) -> bool:
        return any(tensor.device.type != "cpu" for _, tensor in self._tensors())

    def _hashes(self) -> dict[str, int]:
        found, elsewhere = dict[str, int](), dict[str, Tensor]()
        for name, tensor in self._tensors():
            part = _local(tensor)
            if part.device.type == "cpu":
                found[name] = self._hash(name, part)
            else:
                elsewhere[name] = _device_hash(part)
        # One wait for the device for all of them.
        return found | dict(zip(elsewhere, _waited_for(elsewhere.values()), strict=True))

    def _hash(self, name: str, part: Tensor) -> int:
        """As `bits_hash`; the way to a tensor's bytes is kept as long as it stays in its place, half of the time."""
        if not part.is_contiguous():
            return bits_hash(part)
        place = part.data_ptr()
        known = self._views.get(name)
        if known is None or known[0] != place or known[1].nbytes != part.nbytes:
            known = self._views[name] = place, _bytes(part)
        return xxhash.xxh3_64_intdigest(known[1])


def gradient_hashes(model: nn.Module) -> dict[str, int]:
    """Return the hash of each parameter's gradient."""
    return {name: bits_hash(p.grad) for name, p in model.named_parameters() if p.grad is not None}


def bits_hash(tensor: Tensor) -> int:
    """Return a hash of a tensor's bits, of this rank's part where it is spread: any one flipped bit changes it.

    xxh3 on the CPU, 9 GB/s a core here; torch's own on an accelerator, where the tensor lies.
    """
    part = _local(tensor)
    if part.device.type == "cpu":
        return xxhash.xxh3_64_intdigest(_bytes(part))
    return int(_device_hash(part).item())


def _device_hash(part: Tensor) -> Tensor:
    return torch.hash_tensor(part.detach().reshape(-1).view(_WORDS[part.element_size()]))


def _waited_for(hashes: Iterable[Tensor]) -> list[int]:
    known = tuple(hashes)
    # As signed: a uint64 has no stack on an accelerator, and equal bits stay equal.
    return torch.stack([one.view(torch.int64).reshape(()) for one in known]).tolist() if known else []


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _bytes(part: Tensor) -> memoryview:
    return part.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


# Hashed as integers: as floats, all NaNs would be one, and half precision is not supported.
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

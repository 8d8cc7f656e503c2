"""Saving beside training: a thread that seals a copy of the state while the next steps are taken.

What stalls training is the copy into host memory alone. One save is in flight at a time, and nothing of it is lost: its
path, or its error, is handed over on the thread that trains, at the next step or when that waits for it. Hashing,
writing and flushing leave Python's lock to the training thread.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Saved:
    """A sealed checkpoint, and how long it took to seal once its state was copied."""

    path: Path
    save_seconds: float


class Saver:
    """At most one save under way. Leaving the context waits for it; who wants its outcome asks before."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._under_way: Future[Saved] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether the outcome of a save is still to be taken."""
        return self._under_way is not None

    def begin(self, save: Callable[[], Path]) -> None:
        """Start `save` on the thread; the outcome of the one before has been taken."""
        assert self._under_way is None, "one save at a time"
        self._under_way = self._thread.submit(_timed, save)

    def taken_if_done(self) -> Saved | None:
        """Return what has been sealed since the last look, or None. Raises what the save raised."""
        return self.taken() if self._under_way is not None and self._under_way.done() else None

    def taken(self) -> Saved | None:
        """Wait for the save under way and return what it sealed; None where there is none. Raises what it raised."""
        under_way, self._under_way = self._under_way, None
        return under_way.result() if under_way is not None else None


class HostCopies:
    """Copies of tensors in host memory, in the same place each time: fresh pages would cost more than the copy."""

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of each, whole when this returns. Names are kept apart; a later call overwrites theirs."""
        copies = {name: self._copied(name, tensor.detach()) for name, tensor in tensors.items()}
        if any(tensor.is_cuda for tensor in tensors.values()):
            torch.cuda.synchronize()
        return copies

    def _copied(self, name: str, tensor: Tensor) -> Tensor:
        copy = self._copies.get(name)
        if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copies[name] = copy
        return copy.copy_(tensor, non_blocking=True)


def _timed(save: Callable[[], Path]) -> Saved:
    began = time.monotonic()
    path = save()
    return Saved(path, time.monotonic() - began)

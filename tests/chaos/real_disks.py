"""A process that saves without a pause, killed, or its real ext4 shut down under it and mounted again (needs root).

EXT4_IOC_SHUTDOWN stops the file system at once, its journal unflushed: what was not on the disk is lost, as when the
power goes. What the disk's own cache would lose is not tried.
"""

import fcntl
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.line import Line, Size
from tests.chaos.power_cuts import Verdict, resumed
from tests.chaos.protocols import ISOPLAN, USUAL, Protocol

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h
_WITHOUT_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_IMAGE_BYTES = 48 << 20
_LONGEST_SECONDS = 0.4  # some tens of saves


@contextmanager
def mounted(image: Path, at: Path) -> Generator[None]:
    """An ext4 image as a folder.

    Raises:
        OSError: this machine or this user cannot.
    """
    _run("mount", "-o", "loop", str(image), str(at))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(at))


def is_possible() -> bool:
    """Whether this user can make and mount a file system here."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    with tempfile.TemporaryDirectory() as name:
        try:
            with mounted(_new_image(Path(name)), Path(name) / "disk"):
                return True
        except OSError:
            return False


def cut_real_power(protocol: Protocol, *, num_cuts: int, seed: int) -> Counter[Verdict]:
    """Save without a pause, cut the power at a random moment, mount again and resume; a fresh disk each time."""
    verdicts: Counter[Verdict] = Counter()
    chance = random.Random(seed)
    for _ in range(num_cuts):
        with tempfile.TemporaryDirectory() as name:
            verdicts[_cut(protocol, Path(name), after_seconds=chance.uniform(0.02, _LONGEST_SECONDS))] += 1
    return verdicts


def kill_at_random(protocol: Protocol, *, num_kills: int, seed: int) -> Counter[Verdict]:
    """Save without a pause, SIGKILL at a random moment, resume; the disk and the system live on."""
    verdicts: Counter[Verdict] = Counter()
    chance = random.Random(seed)
    for _ in range(num_kills):
        with tempfile.TemporaryDirectory() as name:
            seconds = chance.uniform(0.005, _LONGEST_SECONDS)
            acknowledged = _save_until(protocol, Path(name) / "checkpoints", seconds, end=lambda: None)
            verdicts[resumed(protocol, Path(name) / "checkpoints", acknowledged=acknowledged)] += 1
    return verdicts


def _cut(protocol: Protocol, folder: Path, *, after_seconds: float) -> Verdict:
    image, disk = _new_image(folder), folder / "disk"
    with mounted(image, disk):
        acknowledged = _save_until(protocol, disk / "checkpoints", after_seconds, end=lambda: _shut_down(disk))
    with mounted(image, disk):
        return resumed(protocol, disk / "checkpoints", acknowledged=acknowledged)


def _save_until(protocol: Protocol, folder: Path, after_seconds: float, *, end: Callable[[], None]) -> int:
    """Return the last step that a process at work had acknowledged when it and perhaps its disk came to an `end`."""
    folder.mkdir()
    os.sync()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _save_for_ever(protocol, folder, tell)
    os.close(tell)
    acknowledged, deadline = _heard(told, 0), time.monotonic() + after_seconds
    while (left := deadline - time.monotonic()) > 0 and select.select([told], [], [], left)[0]:
        acknowledged = _heard(told, acknowledged)
    end()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while text := os.read(told, 4):
        acknowledged = int.from_bytes(text, "little")
    os.close(told)
    return acknowledged


def _shut_down(disk: Path) -> None:
    handle = os.open(disk, os.O_RDONLY)
    fcntl.ioctl(handle, _SHUTDOWN, _WITHOUT_LOG_FLUSH.to_bytes(4, sys.byteorder))
    os.close(handle)


def _heard(told: int, acknowledged: int) -> int:
    text = os.read(told, 4)
    return int.from_bytes(text, "little") if text else acknowledged


def _save_for_ever(protocol: Protocol, folder: Path, tell: int) -> None:
    """The child: never returns."""
    step = 0
    try:
        while True:
            step += 1
            protocol.save(folder, step)
            os.write(tell, step.to_bytes(4, "little"))
    finally:
        os._exit(0)


def _new_image(folder: Path) -> Path:
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    _run("mkfs.ext4", "-q", "-F", str(image))
    (folder / "disk").mkdir(exist_ok=True)
    return image


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{argv[0]}: {done.stderr.strip()}")


def random_kills(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """SIGKILL at random moments of saving, each way to save in the same nemesis."""
    for protocol in (ISOPLAN, *USUAL):
        yield _line(
            "SIGKILL at random", protocol, kill_at_random(protocol, num_kills=size.pick(10, 200), seed=size.seed)
        )


def real_power_cuts(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """A real ext4 shut down while saving, where this user may."""
    if not is_possible():
        yield Line("power cut on ext4", 0, 0, "not tried: needs root, mkfs.ext4 and a loop device", is_reference=True)
        return
    for protocol in (ISOPLAN, *USUAL):
        yield _line("power cut on ext4", protocol, cut_real_power(protocol, num_cuts=size.pick(5, 50), seed=size.seed))


def _line(name: str, protocol: Protocol, verdicts: Counter[Verdict]) -> Line:
    words = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items() if verdict != "whole")
    bad = verdicts.total() - verdicts["whole"]
    return Line(f"{name}: {protocol.name}", verdicts.total(), bad, words, is_reference=protocol in USUAL)

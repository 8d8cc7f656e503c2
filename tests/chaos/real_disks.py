"""Power cuts on a real ext4: shut down under a process that saves, mounted again, looked at. Needs root.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.line import Line, Size
from tests.chaos.power_cuts import Verdict
from tests.chaos.protocols import ISOPLAN, USUAL, Protocol, TornError

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h
_WITHOUT_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_IMAGE_BYTES = 48 << 20
_LONGEST_SECONDS = 0.4  # some tens of saves


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
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


def _cut(protocol: Protocol, folder: Path, *, after_seconds: float) -> Verdict:
    image, disk = _new_image(folder), folder / "disk"
    with mounted(image, disk):
        (disk / "checkpoints").mkdir()
        os.sync()
        acknowledged = _save_until_cut(protocol, disk, after_seconds)
    with mounted(image, disk):
        try:
            found = protocol.newest(disk / "checkpoints")
        except TornError:
            return "torn"
        except Exception:  # noqa: BLE001 - whatever a loader raises, the run is stuck
            return "unreadable" if acknowledged else "whole"
        return "whole" if (found or 0) >= acknowledged else "lost"


def _save_until_cut(protocol: Protocol, disk: Path, after_seconds: float) -> int:
    """Return the last step that a process at work had acknowledged when the disk was shut down."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _save_for_ever(protocol, disk / "checkpoints", tell)
    os.close(tell)
    acknowledged, deadline = _heard(told, 1), time.monotonic() + after_seconds
    while (left := deadline - time.monotonic()) > 0 and select.select([told], [], [], left)[0]:
        acknowledged = _heard(told, acknowledged)
    acknowledged = _shut_down(disk, told, acknowledged)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(told)
    return acknowledged


def _shut_down(disk: Path, told: int, acknowledged: int) -> int:
    handle = os.open(disk, os.O_RDONLY)
    if select.select([told], [], [], 0)[0]:
        acknowledged = _heard(told, acknowledged)
    fcntl.ioctl(handle, _SHUTDOWN, _WITHOUT_LOG_FLUSH.to_bytes(4, sys.byteorder))
    os.close(handle)
    return acknowledged


def _heard(told: int, acknowledged: int) -> int:
    text = os.read(told, 1 << 16)
    return int.from_bytes(text[-4:], "little") if text else acknowledged


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


def real_power_cuts(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """A real ext4 shut down while saving, where this user may."""
    if not is_possible():
        yield Line("power cut on ext4", 0, 0, "not tried: needs root, mkfs.ext4 and a loop device", is_reference=True)
        return
    for protocol in (ISOPLAN, *USUAL):
        verdicts = cut_real_power(protocol, num_cuts=size.pick(5, 50), seed=size.seed)
        words = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items() if verdict != "whole")
        bad = verdicts.total() - verdicts["whole"]
        yield Line(f"power cut on ext4: {protocol.name}", verdicts.total(), bad, words, is_reference=protocol in USUAL)

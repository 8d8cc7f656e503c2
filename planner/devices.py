"""From a device's name to the device: this machine, the user's own, or the catalog's, with how fast its stack runs."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from data.canonical import digest, read_strict
from data.catalog.hardware import Hardware, all_hardware, hardware
from data.catalog.prices import priced
from data.errors import UserError
from planner.plan import PlannedHardware, as_json
from planner.profile import Calibration, Profile
from planner.profiles import default_profile, hardware_from_calibration, profile_from_calibration
from planner.recipe import Precision
from planner.request import LOCAL, Request

ANY = "any"
KEPT_DEVICES = 64  # a profile and a digest each


@dataclass(frozen=True, slots=True)
class Sources:
    """The user's own files, which go before the catalogs; each may be missing."""

    prices: Path
    hardware: Path
    calibration: Path


@dataclass(frozen=True, slots=True)
class Device:
    """A resolved device: what it is, how fast its stack runs, and whether that was measured here."""

    hardware: Hardware
    profile: Profile
    precision: Precision
    num_threads: int
    startup_seconds: float | None
    digest: str
    is_local: bool

    def planned(self, num_devices: int) -> PlannedHardware:
        """The device as a plan states it."""
        return PlannedHardware(
            name=self.hardware.name,
            kind=self.hardware.kind,
            num_devices=num_devices,
            peak_flop_per_s=self.hardware.peak_flop_per_s(self.precision),
            memory_bytes=self.hardware.memory_bytes,
            profile=self.profile.name,
            digest=self.digest,
            source=self.hardware.source,
        )


def resolve_device(
    name: str, sources: Sources, *, precision: Precision | None, profile: str | None = None, num_devices: int = 1
) -> Device:
    """The device called `name`: this machine (`local`, measured by `isoplan bench`), the user's, or the catalog's.

    `profile` is the path of one to use in place of the shipped one (`isoplan calibrate`), which is of one device or of
    several together; the digest then covers it.
    """
    found = _named_device(name, sources, precision=precision, num_devices=num_devices)
    if profile is None:
        return found
    chosen = load_profile(Path(profile), chip=found.hardware.name)
    return replace(found, profile=chosen, digest=digest([found.digest, as_json(chosen)]))


def _named_device(name: str, sources: Sources, *, precision: Precision | None, num_devices: int) -> Device:
    if name == LOCAL:
        return _local_device(sources, precision=precision)
    found = hardware(name, overlay=sources.hardware if sources.hardware.exists() else None)
    usual: Precision = "bf16" if found.has_peak("bf16") else "fp32"
    return _catalog_device(found, precision or usual, num_devices=num_devices)


@lru_cache(maxsize=KEPT_DEVICES)
def _catalog_device(found: Hardware, precision: Precision, *, num_devices: int) -> Device:
    profile = default_profile(found, num_devices=num_devices)
    return Device(
        hardware=found,
        profile=profile,
        precision=precision,
        num_threads=0,
        startup_seconds=None,
        digest=digest([as_json(found), as_json(profile)]),
        is_local=False,
    )


def devices_named(text: str, request: Request, sources: Sources) -> tuple[str, ...]:
    """The devices that `text` names: one, several with commas between, or `any` that the request can rent."""
    if text.strip() == ANY:
        return _rentable(request, sources)
    return tuple(name.strip() for name in text.split(","))


def _rentable(request: Request, sources: Sources) -> tuple[str, ...]:
    """Every accelerator that has a price on the request's terms and computes in its precision."""
    overlay = sources.hardware if sources.hardware.exists() else None
    names = priced(provider=request.provider, tier=request.tier, overlay=sources.prices)
    return tuple(
        found.name
        for found in all_hardware(overlay=overlay)
        if found.name in names and found.kind != "cpu" and (not request.precision or found.has_peak(request.precision))
    )


def load_profile(path: Path, *, chip: str) -> Profile:
    """A profile file that `isoplan calibrate` wrote, of `chip`.

    Raises:
        UserError: unreadable, not a profile, or of another chip.
    """
    try:
        found = Profile.model_validate(read_strict(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path} is not a profile: {first['msg']}", next_step="isoplan calibrate RUNS.csv") from error
    if found.chip != chip:
        raise UserError(f"{path} is a profile of {found.chip}", expected=f"one of {chip}")
    return found


def load_calibration(path: Path) -> Calibration:
    """What `isoplan bench` measured.

    Raises:
        UserError: there is none, or the file is not one.
    """
    if not path.exists():
        raise UserError("this machine has not been measured", next_step="isoplan bench")
    try:
        return Calibration.model_validate(read_strict(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is not a calibration: {where}: {first['msg']}", next_step="isoplan bench") from error


def _local_device(sources: Sources, *, precision: Precision | None) -> Device:
    calibration = load_calibration(sources.calibration)
    chosen = precision or _faster(calibration)
    return Device(
        hardware=hardware_from_calibration(calibration),
        profile=profile_from_calibration(calibration, precision=chosen),
        precision=chosen,
        num_threads=calibration.num_threads,
        startup_seconds=calibration.startup_seconds or None,
        digest=digest(as_json(calibration)),
        is_local=True,
    )


def _faster(calibration: Calibration) -> Precision:
    """bf16 where the same measured steps are clearly faster in it, in the middle; else fp32.

    Products alone do not tell: small models' steps are slower in bf16 on CPUs whose bf16 products are twice as fast.
    """
    seconds: dict[Precision, dict[object, float]] = {"fp32": {}, "bf16": {}}
    for probe in calibration.probes:
        if probe.precision in seconds:
            of = probe.shape, probe.seq_len, probe.micro_batch_sequences, probe.accumulation_steps
            seconds[probe.precision][of] = probe.step_seconds
    gains = [seconds["fp32"][of] / taken for of, taken in seconds["bf16"].items() if of in seconds["fp32"]]
    return "bf16" if gains and median(gains) > BF16_MUST_GAIN else "fp32"


BF16_MUST_GAIN = 1.1
"""Steps of small models measured again minutes later differ by about this much on a shared machine."""

"""Accelerators and CPUs: dense peaks, memory, links and power, each row with its source (hardware.csv).

Peaks are dense: vendors print twice that for 2:4 sparsity. Links count one direction, of one device; a network counts
one direction of a whole node. A TOML file of the same columns adds devices or overrides one (`base = "h100-sxm"`).
"""

import csv
import re
import tomllib
from collections.abc import Iterable
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field

from data.errors import UserError, nearest
from data.source import Source
from data.units import Bytes, BytesPerS, Count, FlopPerS, Fraction, Watts
from data.values import Value

DeviceKind = Literal["gpu", "tpu", "cpu"]
Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "fp4"]
DTYPES: tuple[Dtype, ...] = ("fp32", "tf32", "fp16", "bf16", "fp8", "fp4")

_TERA, _GIGA, _GIB = 1e12, 1e9, 2.0**30


class Peak(Value):
    """The dense peak of one number format, accumulating in fp32."""

    dtype: Dtype
    flop_per_s: FlopPerS


class Host(Value):
    """The machine around a node's devices, where offloading puts what their own memory lacks room for."""

    link_bytes_per_s: BytesPerS = Field(description="one device to the host's memory, one direction")
    memory_bytes_per_node: Bytes
    memory_bytes_per_s_per_node: BytesPerS


class Hardware(Value):
    """One kind of device and the machine it usually sits in."""

    name: str
    vendor: str
    kind: DeviceKind
    silicon: str = Field(description="the die, which boards of several names share")
    peaks: tuple[Peak, ...]
    best_matmul_fraction: Fraction | None = Field(
        description="of the bf16 peak, the best product measured; None: unknown"
    )
    memory_bytes: Bytes
    memory_bytes_per_s: BytesPerS
    link_bytes_per_s: BytesPerS = Field(description="one device to its neighbours in the link domain, one direction")
    link_domain: Count = Field(description="devices that reach each other over the link")
    node_devices: Count
    network_bytes_per_s_per_node: BytesPerS
    host: Host | None = Field(default=None, description="of the vendor's reference machine; None: unknown")
    tdp_watts: Watts
    server_power_ratio: float = Field(ge=1, description="server power over the power of its chips (Epoch AI)")
    average_power_fraction: Fraction = Field(description="average draw over TDP while training (Epoch AI)")
    released: str
    source: Source

    @property
    def average_watts(self) -> float:
        """Average draw of one device while training, its share of the server included, cooling excluded."""
        return self.tdp_watts * self.server_power_ratio * self.average_power_fraction

    def has_peak(self, dtype: Dtype) -> bool:
        """Return whether the device computes in `dtype`."""
        return any(peak.dtype == dtype for peak in self.peaks)

    def peak_flop_per_s(self, dtype: Dtype) -> float:
        """Dense peak of one device in `dtype`, the divisor of MFU.

        Raises:
            UserError: the device has no such units.
        """
        for peak in self.peaks:
            if peak.dtype == dtype:
                return peak.flop_per_s
        known = ", ".join(peak.dtype for peak in self.peaks)
        raise UserError(f"{self.name} has no {dtype} peak", expected=f"one of {known}")


def hardware(name: str, *, overlay: Path | None = None) -> Hardware:
    """The device called `name`; `overlay`, a TOML file, goes before the catalog.

    Raises:
        UserError: no such device, or the overlay is broken.
    """
    known = _known(overlay)
    if name not in known:
        raise _unknown(name, known)
    return known[name]


def all_hardware(*, overlay: Path | None = None) -> tuple[Hardware, ...]:
    """Every device of the catalog, then those that `overlay` adds.

    Raises:
        UserError: the overlay is broken.
    """
    return tuple(_known(overlay).values())


def _known(overlay: Path | None) -> dict[str, Hardware]:
    return {**_catalog(), **(_read_overlay(overlay) if overlay else {})}


def _unknown(name: str, known: Iterable[str]) -> UserError:
    """What to say of a name that is not known: its own spelling, the boards of the chip it names, or the nearest."""
    words = re.split(r"[^a-z0-9.]+", name.lower())
    if "mig" in words:
        return UserError(
            f"'{name}' is a part of a device (MIG)",
            expected="a whole one, such as h100-sxm: training takes all of it",
            next_step="describe the part in hardware.toml, with base = its device",
        )
    plain = "".join(words)
    boards = [one for one in known if one.split("-")[0] in words or one.replace("-", "").startswith(plain)]
    is_a_spelling = any(one.replace("-", "") == plain for one in boards)
    expected = f"one of {', '.join(boards)}" if len(boards) > 1 and not is_a_spelling else nearest(name, known)
    next_step = "'local' is this machine, once isoplan bench has measured it; describe another in hardware.toml"
    return UserError(f"no hardware '{name}'", expected=expected, next_step=next_step)


def hardware_names() -> tuple[str, ...]:
    """Every name of the shipped catalog, in its order."""
    return tuple(_catalog())


@cache
def _catalog() -> dict[str, Hardware]:
    with files("data.catalog").joinpath("hardware.csv").open(encoding="utf-8") as file:
        return {row["name"]: _device(row) for row in csv.DictReader(file)}


def _device(row: dict[str, str]) -> Hardware:
    return Hardware(
        name=row["name"],
        vendor=row["vendor"],
        kind=_kind(row["kind"]),
        silicon=row["silicon"],
        peaks=tuple(
            Peak(dtype=dtype, flop_per_s=float(row[f"{dtype}_tflops"]) * _TERA)
            for dtype in DTYPES
            if row.get(f"{dtype}_tflops")
        ),
        best_matmul_fraction=float(row["best_matmul_fraction"]) if row["best_matmul_fraction"] else None,
        memory_bytes=float(row["memory_gib"]) * _GIB,
        memory_bytes_per_s=float(row["memory_gb_per_s"]) * _GIGA,
        link_bytes_per_s=float(row["link_gb_per_s"]) * _GIGA,
        link_domain=int(row["link_domain"]),
        node_devices=int(row["node_devices"]),
        network_bytes_per_s_per_node=float(row["network_gb_per_s_per_node"]) * _GIGA,
        host=_host(row),
        tdp_watts=float(row["tdp_w"]),
        server_power_ratio=float(row["server_power_ratio"]),
        average_power_fraction=float(row["average_power_fraction"]),
        released=row["released"],
        source=Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"]), note=row["note"]),
    )


def _host(row: dict[str, str]) -> Host | None:
    if not row.get("host_link_gb_per_s"):
        return None
    return Host(
        link_bytes_per_s=float(row["host_link_gb_per_s"]) * _GIGA,
        memory_bytes_per_node=float(row["host_memory_gib"]) * _GIB,
        memory_bytes_per_s_per_node=float(row["host_memory_gb_per_s"]) * _GIGA,
    )


def _kind(text: str) -> DeviceKind:
    for kind in ("gpu", "tpu", "cpu"):
        if text == kind:
            return kind
    raise UserError(f"no device kind '{text}'", expected="gpu, tpu or cpu")


def _read_overlay(path: Path) -> dict[str, Hardware]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return {name: _overlaid(name, table, path) for name, table in tables.items()}


def _overlaid(name: str, table: object, path: Path) -> Hardware:
    if not isinstance(table, dict):
        raise UserError(f"{path}: '{name}' is not a table", expected=f"[{name}] and the columns of hardware.csv")
    given = {str(key): str(value) for key, value in table.items()}
    base = _base_row(given.pop("base", ""))
    unknown = [column for column in given if column not in _columns()]
    if unknown:
        raise UserError(f"{path}: [{name}] has no column '{unknown[0]}'", expected=nearest(unknown[0], _columns()))
    try:
        return _device({**base, **given, "name": name})
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: [{name}] is not a device: {error}", expected="every column, or a base") from error


def _base_row(name: str) -> dict[str, str]:
    if not name:
        return {
            "vendor": "user",
            "silicon": "user",
            "best_matmul_fraction": "",
            "host_link_gb_per_s": "",
            "accessed": "1970-01-01",
            "source_url": "user",
            "note": "",
            "released": "",
        }
    with files("data.catalog").joinpath("hardware.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    if name not in rows:
        raise UserError(f"no hardware '{name}' to base on", expected=nearest(name, rows))
    return rows[name]


@cache
def _columns() -> tuple[str, ...]:
    with files("data.catalog").joinpath("hardware.csv").open(encoding="utf-8") as file:
        return tuple(next(csv.reader(file)))

"""The hardware catalog: every row is physically possible, names are checked, users may add devices."""

from itertools import pairwise
from pathlib import Path

import pytest

from data.catalog.hardware import DTYPES, hardware, hardware_names
from data.errors import UserError

ACCELERATORS = [name for name in hardware_names() if hardware(name).kind != "cpu"]


@pytest.mark.parametrize("name", hardware_names())
def test_every_row_has_a_source_and_a_memory_it_can_fill_within_seconds(name: str) -> None:
    device = hardware(name)

    assert device.source.url.startswith("https://")
    # HBM is read whole in 5-100 ms; DDR and GDDR take up to a second.
    assert 0.005 < device.memory_bytes / device.memory_bytes_per_s < 1.5


@pytest.mark.parametrize("name", ACCELERATORS)
def test_peaks_are_dense_and_narrower_formats_are_faster_by_at_most_double(name: str) -> None:
    device = hardware(name)
    # Blackwell Ultra's FP4 is three times its FP8 by design; no dense rate is twice a neighbour's and more elsewhere.
    limit = {"b300-sxm": 3.01, "gb300-nvl72": 3.01, "gaudi3": 3.66}.get(name, 2.05)
    known = [device.peak_flop_per_s(dtype) for dtype in ("fp16", "fp8", "fp4") if device.has_peak(dtype)]

    assert all(1.0 <= faster / slower <= limit for slower, faster in pairwise(known))


@pytest.mark.parametrize("name", ACCELERATORS)
def test_the_ridge_of_the_roofline_is_plausible(name: str) -> None:
    device = hardware(name)
    dtype = "bf16" if device.has_peak("bf16") else "fp16"
    flop_per_byte = device.peak_flop_per_s(dtype) / device.memory_bytes_per_s

    assert 30 < flop_per_byte < 700


@pytest.mark.parametrize("name", ACCELERATORS)
def test_links_are_slower_than_memory_and_networks_slower_than_links(name: str) -> None:
    device = hardware(name)

    assert device.link_bytes_per_s < device.memory_bytes_per_s
    assert device.network_bytes_per_s_per_node <= device.link_bytes_per_s * device.node_devices
    assert device.link_domain >= 1


@pytest.mark.parametrize("name", ACCELERATORS)
def test_a_joule_buys_a_plausible_number_of_flop(name: str) -> None:
    device = hardware(name)
    best = max(device.peak_flop_per_s(dtype) for dtype in ("fp16", "bf16") if device.has_peak(dtype))

    assert 1e11 < best / device.tdp_watts < 6e12
    assert 0.5 * device.tdp_watts < device.average_watts < 2 * device.tdp_watts


def test_an_h100_server_draws_what_epoch_measures() -> None:
    # 956 W a GPU: Epoch AI's model of average draw, the share of the server included.
    assert hardware("h100-sxm").average_watts == pytest.approx(956, abs=1)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'h100-sxm'"):
        hardware("h100_sxm")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("a100", "one of a100-sxm-40gb, a100-sxm-80gb, a100-pcie-80gb"),
        ("NVIDIA H100 80GB HBM3", "one of h100-sxm, h100-sxm-96gb-500w, h100-pcie"),
        ("mi300", "did you mean 'mi300x'"),
        ("tpuv5e", "did you mean 'tpu-v5e'"),
        ("h100-sxm-mig-3g.40gb", "a whole one, such as h100-sxm"),
    ],
)
def test_a_chip_is_answered_with_its_boards_and_a_part_with_the_whole(name: str, answer: str) -> None:
    with pytest.raises(UserError) as found:
        hardware(name)

    assert answer in found.value.expected


@pytest.mark.parametrize("name", [name for name in hardware_names() if hardware(name).host])
def test_a_host_is_larger_and_slower_than_its_devices(name: str) -> None:
    device = hardware(name)
    assert device.host is not None

    assert device.host.link_bytes_per_s <= device.link_bytes_per_s
    assert device.host.memory_bytes_per_s_per_node < device.memory_bytes_per_s * device.node_devices
    assert device.host.memory_bytes_per_node > device.memory_bytes


def test_a_missing_format_names_those_there_are() -> None:
    with pytest.raises(UserError, match="no fp8 peak"):
        hardware("a100-sxm-80gb").peak_flop_per_s("fp8")


def test_a_user_bases_a_device_on_a_known_one(tmp_path: Path) -> None:
    overlay = tmp_path / "hardware.toml"
    overlay.write_text('[my-h100]\nbase = "h100-sxm"\nnetwork_gb_per_s_per_node = 100\n', encoding="utf-8")

    mine = hardware("my-h100", overlay=overlay)

    assert mine.network_bytes_per_s_per_node == 100e9
    assert mine.peak_flop_per_s("bf16") == hardware("h100-sxm").peak_flop_per_s("bf16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[x]\nbase = "h100"\n', "no hardware 'h100' to base on"),
        ('[x]\nbase = "h100-sxm"\nmemory = 3\n', "no column 'memory'"),
        ('[x]\nkind = "gpu"\n', "not a device"),
        ('[x]\nbase = "h100-sxm"\ntdp_w = "hot"\n', "not a device"),
        ("x = 3\n", "not a table"),
        ("[x\n", "cannot read"),
    ],
)
def test_a_broken_overlay_says_where(tmp_path: Path, text: str, message: str) -> None:
    overlay = tmp_path / "hardware.toml"
    overlay.write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=message):
        hardware("x", overlay=overlay)


def test_the_dtypes_are_those_of_the_columns() -> None:
    assert set(DTYPES) == {"fp32", "tf32", "fp16", "bf16", "fp8", "fp4"}

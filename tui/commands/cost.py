"""`isoplan cost`: what a run costs or should have cost, for one configuration or a table of published ones."""

from pathlib import Path

import click

from data.errors import UserError
from data.units import show_usd
from tui.output import data, emit_json, say

SCOPE = "final run only: no experiments, staff, data, storage or evaluation"


@click.command()
@click.option("--hardware", default="", help="The device as one writes it: 'H100 SXM', 'A100 80GB', 'TPU v4'.")
@click.option("--devices", "n_devices", default="", help="How many.")
@click.option("--device-hours", default="", help="Device-hours of the run.")
@click.option("--days", "wall_days", default="", help="Wall days instead, with --devices.")
@click.option("--params", default="", help="Parameters (of a mixture of experts, the active ones): 7B.")
@click.option("--tokens", default="", help="Training tokens: 2T.")
@click.option("--flop", "compute_flop", default="", help="Training FLOP instead: 3.3e24.")
@click.option(
    "--price", "price_basis", default="", help="As one says it: '$2.10/h', '$24/h node', 'AWS 3-year reserved'."
)
@click.option("--date", "year", default="", help="When it was published: 2024 or 2024-07-23. Dates the price.")
@click.option("--dollars-of", default="", metavar="YEAR", help="State it in that year's dollars (consumer prices).")
@click.option("--amortised", is_flag=True, help="Charge the hardware's loss of value instead of rent (Epoch AI).")
@click.option("--region", help="Where it runs, for energy and CO2: us, singapore, vietnam.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="A table of runs in published columns instead.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write that table with costs added.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def cost(
    *,
    hardware: str,
    n_devices: str,
    device_hours: str,
    wall_days: str,
    params: str,
    tokens: str,
    compute_flop: str,
    price_basis: str,
    year: str,
    dollars_of: str,
    amortised: bool,
    region: str | None,
    table: Path | None,
    out: Path | None,
    as_data: bool,
) -> None:
    """Cost of one run, from what is known of it: hours and price, hours and date, or parameters and tokens.

    \b
    isoplan cost --hardware "H100 SXM" --device-hours 2.8M --price "$2/h" --date 2024
    isoplan cost --hardware "A100 80GB" --params 7B --tokens 2T --date 2023 --region us
    isoplan cost --csv published_costs.csv --out priced.csv
    """
    if table is not None:
        _cost_table(table, out)
        return
    row = {
        "hardware": hardware,
        "n_devices": _count(n_devices),
        "device_hours": _count(device_hours),
        "wall_days": wall_days,
        "params": _count(params),
        "tokens": _count(tokens),
        "compute_flop": compute_flop,
        "price_basis": price_basis,
        "year": year,
        "dollars_of": dollars_of,
        "method": "amortised" if amortised else "",
    }
    _cost_one(row, region, as_data=as_data)


def _cost_one(row: dict[str, str], region: str | None, *, as_data: bool) -> None:
    from planner.economics.footprint import BOUNDARY
    from planner.economics.published_cost import estimate_cost, run_footprint

    found = estimate_cost(row)
    energy = run_footprint(row, region=region) if region else None
    if as_data:
        emit_json(
            {
                "schema": "isoplan.cost/1",
                "cost_usd": found.usd,
                "cost_usd_p10": found.p10_usd,
                "cost_usd_p90": found.p90_usd,
                "tier": found.tier,
                "basis": found.basis,
                "scope": SCOPE,
                "sources": list(found.sources),
                "energy_kwh": energy.kwh if energy else None,
                "energy_usd": energy.usd if energy else None,
                "co2_kg": energy.co2_kg if energy else None,
                "energy_boundary": BOUNDARY if energy else None,
            }
        )
        return
    data(f"{show_usd(found.usd)}  (P10 {show_usd(found.p10_usd)}, P90 {show_usd(found.p90_usd)})  {found.tier}")
    data(f"basis   {found.basis}")
    data(f"scope   {SCOPE}")
    if energy:
        data(
            f"energy  {energy.kwh:,.0f} kWh, {show_usd(energy.usd)} at ${energy.electricity.usd_per_kwh:g}/kWh "
            f"({energy.electricity.region}, {energy.electricity.year}), {energy.co2_kg:,.0f} kg CO2 at "
            f"{energy.grid.gco2_per_kwh:.0f} g/kWh ({energy.grid.year})\n        {BOUNDARY}"
        )
    for source in found.sources:
        data(f"source  {source}")
    say("Next: isoplan plan --hardware ... --budget ... decides a run; --csv prices a table")


def _cost_table(path: Path, out: Path | None) -> None:
    from data.durable import write_atomic
    from planner.economics.cost_table import cost_table

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a CSV file of runs") from error
    priced = cost_table(text, name=str(path))
    if out is None:
        data(priced.text.rstrip("\n"))
    else:
        write_atomic(out, priced.text.encode())
    say(f"Priced {priced.num_priced} rows, refused {priced.num_refused}" + (f" -> {out}" if out else ""))


def _count(text: str) -> str:
    """A count in people's units as a plain number; blank stays blank."""
    from data.units import parse_count

    return str(parse_count(text)) if text else ""

"""Where things lie: the working folder's plans, fits, runs and ledger, and the user's own state in `ISOPLAN_HOME`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    from planner.devices import Sources

_RUN = re.compile(r"r-(\d{4,})")


@dataclass(frozen=True, slots=True)
class Workspace:
    """One working folder."""

    root: Path

    @property
    def plans(self) -> Path:
        """Plans and their approvals."""
        return self.root / "plans"

    @property
    def fits(self) -> Path:
        """Fitted laws."""
        return self.root / "fits"

    @property
    def runs(self) -> Path:
        """One folder a run, `r-nnnn`."""
        return self.root / "runs"

    @property
    def ledger(self) -> Path:
        """The hash-chained ledger of approvals and starts."""
        return self.root / "ledger.jsonl"

    @property
    def prices(self) -> Path:
        """The user's own prices, which go before the shipped ones."""
        return self.root / "prices.csv"

    @property
    def hardware(self) -> Path:
        """The user's own devices, which go before the shipped ones."""
        return self.root / "hardware.toml"

    @property
    def calibration(self) -> Path:
        """What `isoplan bench` measured here."""
        return self.root / "calibration.json"

    def sources(self) -> "Sources":
        """The files a plan is resolved from, whether or not they exist."""
        # The catalogs and laws behind it cost half a second that listing runs does not need.
        from planner.devices import Sources

        return Sources(prices=self.prices, hardware=self.hardware, calibration=self.calibration)

    def new_run(self) -> Path:
        """Create and return the next run folder; no two processes get the same one."""
        self.runs.mkdir(parents=True, exist_ok=True)
        number = max((int(match[1]) for path in self.runs.iterdir() if (match := _RUN.fullmatch(path.name))), default=0)
        while True:
            number += 1
            folder = self.runs / f"r-{number:04d}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder

    def find_run(self, name: str | None) -> Path:
        """Return the folder of a run given by path, id or the start of one; None is the newest.

        Raises:
            UserError: none or several match.
        """
        if name and (Path(name) / "events.jsonl").exists():
            return Path(name)
        known = sorted(path for path in self.runs.glob("r-*") if _RUN.fullmatch(path.name))
        matches = known[-1:] if name is None else [path for path in known if path.name.startswith(name)]
        if name and any(path.name == name for path in matches):
            matches = [path for path in matches if path.name == name]
        if len(matches) != 1:
            names = ", ".join(path.name for path in known) or "none yet"
            raise UserError(f"{len(matches)} runs match '{name or 'the newest'}'", expected=f"one of: {names}")
        return matches[0]


def home() -> Path:
    """Return the user's state folder: `ISOPLAN_HOME`, else isoplan inside the XDG data directory."""
    stated = os.environ.get("ISOPLAN_HOME")
    if stated:
        return Path(stated)
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "isoplan"

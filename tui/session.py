"""What the screens share: the folder, the clock, and which plan and run are looked at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from executor.paths import Workspace


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Session:
    """One sitting. Choosing a plan or a run on one screen chooses it on all."""

    workspace: Workspace
    now: Callable[[], datetime] = _now
    plan_id: str | None = None
    run_id: str | None = None
    pinned: list[str] = field(default_factory=list)

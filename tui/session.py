"""What the screens share: the folder, the clock, and which plan and run are looked at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from executor.paths import Workspace

if TYPE_CHECKING:
    from tui.background import BackgroundCommand


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
    command: "BackgroundCommand | None" = None
    """The last command that was started here."""

    def start(self, line: str) -> None:
        """Start an isoplan command in a process of its own.

        Raises:
            UserError: another one goes on, or it is none of isoplan's.
        """
        from data.errors import UserError
        from tui.background import BackgroundCommand

        if self.command is not None and self.command.exit_code is None:
            raise UserError(f"{self.command.line} goes on", next_step="wait for its end")
        self.command = BackgroundCommand(line, self.workspace.root)

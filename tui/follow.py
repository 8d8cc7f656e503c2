"""Following a run in a terminal: as a spectator (`watch_run`), or as the one who started it (`follow_run`)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from executor.events import Ended, parse_lines
from executor.run_folder import RunFolder, is_alive
from executor.value_files import read_value
from planner.plan import as_json
from planner.record import RunRecord
from tui.follower import Follower, Tail
from tui.output import emit_json, emit_json_text, say
from tui.progress_line import ProgressLine

POLL_SECONDS = 0.5
DEAD_AFTER_POLLS = 6
"""A starter holds its lock within this many looks; a run without one for longer is dead."""

FULL_BYTES = 1 << 16
"""A disk with less room takes no checkpoint of any model, and hardly an event."""

DIED = 1
SIGNALLED = 128


def follow_run(folder: Path, *, process: subprocess.Popen[bytes], as_data: bool) -> int:
    """Show the run we started until its process ends, and return its exit code.

    The first ^C asks it for a checkpoint, the second aborts it; `as_data` prints only the record, at the end.
    """
    run = RunFolder(folder)
    follower, line = Follower(run), ProgressLine()
    while True:
        try:
            code = process.poll()
            events = follower.poll()
            if not as_data:
                line.show(events, follower)
            if code is not None:
                break
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            say(f"\n^C: {folder.name} writes a checkpoint and stops; ^C again aborts it")
    line.finish()
    if as_data and run.record.exists():
        emit_json(as_json(read_value(run.record, RunRecord)))
    say(_next_after(follower))
    return code if code >= 0 else SIGNALLED - code


def watch_run(run: RunFolder) -> int:
    """Show a run until it ends and return its exit code; `DIED` where its process ended without a word."""
    follower, line, missed = Follower(run), ProgressLine(), 0
    while missed <= DEAD_AFTER_POLLS:
        # Asked before reading: what a run writes last is then read before it is taken for ended.
        missed = 0 if follower.is_running else missed + 1
        line.show(follower.poll(), follower)
        if missed and follower.ended:
            break
        time.sleep(POLL_SECONDS)
    line.finish()
    say(_next_after(follower))
    return follower.ended.exit_code if follower.ended else DIED


def stream_events(run: RunFolder) -> int:
    """Print the events as they come, one JSON document a line, until the run ends; return its exit code."""
    tail, missed, code = Tail(run.events), 0, DIED
    while missed <= DEAD_AFTER_POLLS:
        missed = 0 if is_alive(run) else missed + 1
        for line in tail.lines():
            emit_json_text(line.decode(errors="replace"))
            if b'"kind":"end"' in line:
                code = next((event.exit_code for event in parse_lines(line) if isinstance(event, Ended)), code)
        sys.stdout.flush()
        if missed and code != DIED:
            break
        time.sleep(POLL_SECONDS)
    return code


def _next_after(follower: Follower) -> str:
    name = follower.folder.run_id
    if follower.ended is None:
        cause = likely_cause(follower.folder.root)
        return f"{name} is dead: its process ended without a word{cause}. Next: isoplan resume {name}"
    if follower.ended.state == "done":
        return f"Next: isoplan compare {name} · isoplan report {name}"
    return f"Next: isoplan logs {name} · isoplan resume {name}"


def likely_cause(root: Path) -> str:
    """Return what is wrong with the disk under a run's folder, which the run itself could not write down."""
    if not root.exists():
        return ", and its folder has gone"
    disk = os.statvfs(root)
    if disk.f_flag & os.ST_RDONLY:
        return ", and its disk is read-only"
    return ", and its disk is full" if disk.f_bavail * disk.f_frsize < FULL_BYTES else ""

"""`python -m executor RUN_DIR`: one attempt at a run, as its own process."""

import time

STARTED = time.monotonic()  # before the imports below, which are part of what the run costs

import os  # noqa: E402 - see above
import sys  # noqa: E402 - see above
from contextlib import suppress  # noqa: E402 - see above
from pathlib import Path  # noqa: E402 - see above

from data.errors import UserError  # noqa: E402 - see above
from executor.parallel.world import world  # noqa: E402 - see above
from executor.run import execute  # noqa: E402 - see above


def main() -> int:
    """Run and return the exit code; a `UserError` becomes one line on stderr and its code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m executor RUN_DIR\n")
        return 2
    try:
        code = execute(Path(sys.argv[1]), started=STARTED, world=world(os.environ), is_own_process=True)
    except UserError as error:
        with suppress(OSError):  # the log may be on the disk that is full
            sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    # torchrun starts all ranks again after any code but 0; an end that was decided is not to be tried again.
    return 0 if "TORCHELASTIC_RUN_ID" in os.environ else code


if __name__ == "__main__":
    sys.exit(main())

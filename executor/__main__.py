"""`python -m executor RUN_DIR`: one attempt at a run, as its own process."""

import time

STARTED = time.monotonic()  # before the imports below, which are part of what the run costs

import sys  # noqa: E402 - see above
from pathlib import Path  # noqa: E402 - see above

from data.errors import UserError  # noqa: E402 - see above
from executor.run import execute  # noqa: E402 - see above


def main() -> int:
    """Run and return the exit code; a `UserError` becomes one line on stderr and its code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m executor RUN_DIR\n")
        return 2
    try:
        return execute(Path(sys.argv[1]), started=STARTED)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tui`: the command line, for where the entry point is not on the path."""

from tui.cli import main

main()

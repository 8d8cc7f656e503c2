"""`python -m tests.mutation [MODULE]...`: the mutants of the modules that guard, and which of them no test notices.

Tests are loaded once; each mutant is a fork of that process with other code in the module. Exit 1 where fewer than
95 % of a module's mutants are killed.
"""

import argparse
import ast
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutation.loaded import put_in_place
from tests.mutation.mutants import Mutant, mutants

TESTS: dict[str, tuple[str, ...]] = {
    "planner.approval": ("tests/planner/test_signers.py", "tests/planner/test_approval.py"),
    "planner.attestation": ("tests/planner/test_attestation.py", "tests/planner/test_signers.py"),
    "planner.receipt": ("tests/planner/test_receipt.py",),
    "planner.signers": ("tests/planner/test_signers.py", "tests/planner/test_receipt.py"),
    "planner.ledger": ("tests/planner/test_ledger.py",),
    "executor.ledger_head": ("tests/executor/test_ledger_head.py",),
    "executor.authorise": ("tests/executor/test_authorise.py", "tests/chaos/test_attacks.py"),
    "executor.seal": ("tests/executor/test_seal.py", "tests/chaos/test_power_cuts.py"),
    "executor.guard": ("tests/executor/test_guard.py",),
}
GOAL = 0.95
SECONDS = 60
"""A mutant that runs longer has been noticed."""


def main() -> int:
    """Try each module's mutants and print those that live."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", choices=[*TESTS, []], help="all where none is named")
    names = parser.parse_args().modules or [*TESTS]
    return max([_try_module(name) for name in names])


def _try_module(name: str) -> int:
    module, tests = importlib.import_module(name), [path for path in TESTS[name] if Path(path).exists()]
    assert module.__file__ is not None
    source = Path(module.__file__).read_text()
    if _run(tests):
        _out(f"{name}: its tests fail without any change")
        return 1
    same = [Mutant(0, "", ast.parse(source), is_at_import) for is_at_import in (False, True)]
    assert not any(_is_noticed(name, one, tests) for one in same), "putting the same code in its place is no change"
    began, found, num_alive = time.monotonic(), [*mutants(source)], 0
    for one in found:
        if not _is_noticed(name, one, tests):
            num_alive += 1
            _out(f"  {name} line {one.line}: {one.what}")
    killed = 1 - num_alive / len(found)
    _out(f"{name}: {len(found)} mutants, {killed:.1%} killed, {time.monotonic() - began:.0f} s")
    return 0 if killed >= GOAL else 1


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _is_noticed(name: str, mutant: Mutant, tests: Sequence[str]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        code = 1
        try:
            put_in_place(sys.modules[name], mutant.tree, is_at_import=mutant.is_at_import)
            code = int(_run(tests) != 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _run(tests: Sequence[str]) -> int:
    out, err = os.dup(1), os.dup(2)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        return pytest.main(["-x", "-n0", "-p", "no:randomly", "-p", "no:cacheprovider", *tests])
    finally:
        for kept, number in ((out, 1), (err, 2)):
            os.dup2(kept, number)
            os.close(kept)
        os.close(quiet)


if __name__ == "__main__":
    sys.exit(main())

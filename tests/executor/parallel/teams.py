"""Several ranks in as many processes for tests: a function runs on each, and what it returns comes back by rank."""

import multiprocessing
import os
import queue
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def on_ranks(size: int, work: Callable[..., object], *args: object) -> list[object]:
    """Return what `work(world, *args)` returned on each of `size` ranks; fail with the first error."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["executor.parallel.trainer", "executor.attempt"])
    answers = context.Queue()
    port = _free_port()
    processes = [context.Process(target=_rank, args=(answers, rank, size, port, work, args)) for rank in range(size)]
    for process in processes:
        process.start()
    try:
        found = dict(_answer(answers, processes) for _ in range(size))
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    for outcome in found.values():
        if isinstance(outcome, str) and outcome.startswith("Traceback"):
            pytest.fail(outcome)
    return [found[rank] for rank in range(size)]


def _answer(answers, processes) -> tuple[int, object]:
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        try:
            answer = answers.get(timeout=0.2)
        except queue.Empty:
            if all(not process.is_alive() for process in processes) and answers.empty():
                pytest.fail(f"ranks died: {[process.exitcode for process in processes]}")
            continue
        if isinstance(answer[1], str) and answer[1].startswith("Traceback"):
            pytest.fail(answer[1])
        return answer
    pytest.fail("ranks did not answer in 15 minutes")


def _rank(answers, rank: int, size: int, port: int, work, args) -> None:
    import traceback

    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(size),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    try:
        answers.put((rank, work(*args)))
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path

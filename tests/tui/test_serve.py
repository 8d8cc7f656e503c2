"""The screens in a browser: only for this machine's own page."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tui.serve import is_own

OWN = {"127.0.0.1:8017", "localhost:8017"}


@pytest.mark.parametrize(
    ("host", "origin", "answered"),
    [
        ("127.0.0.1:8017", None, True),
        ("localhost:8017", "http://localhost:8017", True),
        ("evil.example:8017", None, False),
        ("127.0.0.1:8017", "https://evil.example", False),
        ("127.0.0.1:8017", "http://127.0.0.1:9999", False),
        ("127.0.0.1:8017", "null", False),
        ("", None, False),
    ],
)
def test_only_our_own_page_is_answered(host: str, origin: str | None, answered: bool) -> None:
    assert is_own(host, origin, OWN) is answered


@contextmanager
def served(folder: Path) -> Generator[str]:
    """The address of the screens over a folder, once they answer."""
    pytest.importorskip("textual_serve", reason="the extra [serve] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-P", "-m", "tui", "tui", str(folder), "--serve", "--port", str(port)]
    server = subprocess.Popen(words, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < end
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


@pytest.mark.slow
def test_the_server_answers_on_the_loopback_alone(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}))
        with urllib.request.urlopen(address) as page:
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
            assert b"isoplan" in page.read()


@pytest.mark.slow
def test_a_key_pressed_in_a_browser_changes_the_screen(tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here")
    lab = tmp_path / "lab"
    lab.mkdir()

    async def session(address: str) -> bytes:
        from tests.tui.browser import chromium

        async with chromium(program, tmp_path / "profile") as page:
            await page.ask("Page.navigate", url=address)
            await page.until("No plans here")
            page.received = b""
            await page.press("9")
            await page.until("No finished run")
            return page.received

    with served(lab) as address:
        assert b"No finished run" in asyncio.run(session(address))

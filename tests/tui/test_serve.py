"""The screens in a browser: only for this machine's own page."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
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


@pytest.mark.slow
def test_the_server_answers_on_the_loopback_alone(tmp_path: Path) -> None:
    pytest.importorskip("textual_serve", reason="the extra [serve] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-P", "-m", "tui", "tui", str(tmp_path), "--serve", "--port", str(port)]
    server = subprocess.Popen(words, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/")
                break
            except urllib.error.URLError:
                assert time.monotonic() < end
                time.sleep(0.1)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert b"isoplan" in page.read()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)

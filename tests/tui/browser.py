"""A headless Chromium at a page, driven by its DevTools protocol over aiohttp, which comes with the extra [serve]."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

PATIENCE_SECONDS = 60.0


class Page:
    """One page, and what its websockets received. No way leads to the words on a terminal's canvas but these bytes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._asked = socket, 0
        self._answers: dict[int, dict[str, object]] = {}
        self.received = b""

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers[told["id"]] = told
            elif told["method"] == "Network.webSocketFrameReceived":
                frame = told["params"]["response"]
                is_text = frame["opcode"] == 1
                self.received += frame["payloadData"].encode() if is_text else base64.b64decode(frame["payloadData"])

    async def ask(self, method: str, **parameters: object) -> None:
        self._asked += 1
        number = self._asked
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while number not in self._answers:
                await asyncio.sleep(0.02)
        assert "error" not in self._answers[number], self._answers[number]

    async def press(self, digit: str) -> None:
        """As a key of the keyboard: it goes to what has the focus."""
        key = {"key": digit, "code": f"Digit{digit}", "windowsVirtualKeyCode": ord(digit)}
        await self.ask("Input.dispatchKeyEvent", type="keyDown", text=digit, **key)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", **key)

    async def until(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while words.encode() not in self.received:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def chromium(program: str, profile: Path) -> AsyncGenerator[Page]:
    """An empty page of a browser with a profile of its own."""
    words = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    )
    quiet = asyncio.subprocess.DEVNULL
    browser = await asyncio.create_subprocess_exec(program, *words, "about:blank", stdout=quiet, stderr=quiet)
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(await _address(client, profile), max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.ask("Network.enable")
            yield page
            listening.cancel()
    finally:
        browser.terminate()
        await browser.wait()


async def _address(client: aiohttp.ClientSession, profile: Path) -> str:
    chosen = profile / "DevToolsActivePort"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (chosen.exists() and chosen.read_text()):
            await asyncio.sleep(0.1)
    async with client.get(f"http://127.0.0.1:{chosen.read_text().split()[0]}/json/list") as answer:
        pages = await answer.json(content_type=None)
    return next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")

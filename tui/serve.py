"""The screens in a browser, through textual-serve, for this machine only.

What can be done in the screens can be done in the page, so it listens on the loopback alone, and answers nothing that
was asked in another name or by another site's page: a browser would otherwise let any open page talk to it.
"""

import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from data.errors import UserError

if TYPE_CHECKING:
    from aiohttp import web  # pyrefly: ignore[missing-import] - an extra

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HOST = "127.0.0.1"
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' ws://{host}:{port}; frame-ancestors 'none'"
)
"""Nothing from other sites: textual-serve's page asks Google for a font, and waits for it where there is no network."""

FOCUS = """<script>
new MutationObserver((_, watch) => {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys) { keys.focus(); watch.disconnect(); }
}).observe(document.body, {childList: true, subtree: true});
</script></body>"""
"""Gives the keys to the terminal once it is made: textual-serve (1.1) leaves them with the page until it is clicked."""


def serve(path: Path, *, port: int) -> None:
    """Serve the screens over `path` until interrupted.

    Raises:
        UserError: the extra `serve` is not installed.
    """
    try:
        from aiohttp import web  # pyrefly: ignore[missing-import] - an extra
        from textual_serve.server import Server  # pyrefly: ignore[missing-import] - an extra
    except ImportError as error:
        raise UserError(
            "the screens in a browser need textual-serve", next_step="pip install 'isoplan[serve]'"
        ) from error

    own = {f"{name}:{port}" for name in (HOST, "localhost")}

    class LoopbackServer(Server):
        """Answers its own page only."""

        @override
        async def _make_app(self) -> web.Application:  # pyrefly: ignore[bad-override] - the base is an extra
            @web.middleware
            async def check(request: web.Request, handler: "Handler") -> web.StreamResponse:
                if not is_own(request.headers.get("Host", ""), request.headers.get("Origin"), own):
                    raise web.HTTPForbidden(text="only this machine's own page may ask")
                response = await handler(request)
                if isinstance(response, web.Response) and response.content_type == "text/html" and response.text:
                    response.text = response.text.replace("</body>", FOCUS)
                return response

            async def protect(_request: web.Request, response: web.StreamResponse) -> None:
                response.headers["Content-Security-Policy"] = POLICY.format(host=HOST, port=port)

            app = await super()._make_app()
            app.middlewares.append(check)
            app.on_response_prepare.append(protect)
            return app

    command = shlex.join((sys.executable, "-P", "-m", "tui", "tui", str(path)))
    LoopbackServer(command, host=HOST, port=port, title="isoplan").serve()


def is_own(host: str, origin: str | None, own: set[str]) -> bool:
    """Whether a request is to one of our own names, and comes from our own page where a page sent it."""
    return host in own and (origin is None or origin.removeprefix("http://") in own)

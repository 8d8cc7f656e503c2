"""A list that shows as many of its lines as it has room for, the last of them."""

import asyncio
from collections.abc import Sequence

from textual.app import App, ComposeResult
from typing_extensions import override

from tui.widgets.tail import Tail

LINES = [f"line {number} of a text that is wider than the box" for number in range(20)]


class OneTail(App[None]):
    """A screen with nothing else."""

    @override
    def compose(self) -> ComposeResult:
        yield Tail()


def last(room: int) -> Sequence[str]:
    return LINES[-room:] if room else ()


def test_it_shows_what_has_room_and_asks_again_when_that_changes() -> None:
    async def session() -> list[list[str]]:
        app, shown = OneTail(), []
        async with app.run_test(size=(10, 3)) as pilot:
            app.query_one(Tail).show(last)
            for height in (3, 5, 2):
                await pilot.resize_terminal(10, height)
                await pilot.pause()
                shown.append([strip.text for strip in app.screen._compositor.render_strips()])
        return shown

    assert asyncio.run(session()) == [[f"line {number} o…" for number in range(20 - room, 20)] for room in (3, 5, 2)]


def test_the_same_lines_are_not_drawn_again() -> None:
    async def session() -> tuple[int, int]:
        asked: list[int] = []

        def counting(room: int) -> Sequence[str]:
            asked.append(room)
            return last(room)

        async with OneTail().run_test(size=(10, 3)) as pilot:
            tail = pilot.app.query_one(Tail)
            tail.show(counting)
            await pilot.pause()
            before = len(asked)
            tail.show(counting)
            await pilot.pause()
            same = len(asked) - before
            tail.show(lambda room: [*counting(room)[1:], "more"])
            await pilot.pause()
            return same, len(asked) - before - same

    compared, drawn = asyncio.run(session())

    assert compared == 1  # to see that nothing changed, and no drawing
    assert drawn == 2

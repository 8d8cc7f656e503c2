"""Blocks of the report on a screen: they take the lines they need, and no more work than they must."""

import asyncio
from unittest.mock import patch

from textual.app import App, ComposeResult
from textual.selection import SELECT_ALL
from textual.strip import Strip
from textual.widget import Widget
from typing_extensions import override

from planner.report.document import Block, Commands, Notices, Text
from tui.widgets.report_block import ReportBlock


class OneBlock(App[None]):
    """A screen with nothing else."""

    @override
    def compose(self) -> ComposeResult:
        yield ReportBlock([Text(text="seven words that fit on one line")])


def heights_and_layouts(*texts: str, css: str = "") -> list[tuple[int, int]]:
    """After each text: the block's height, and how often the screen was laid out for it."""

    async def session() -> list[tuple[int, int]]:
        app, found, layouts = OneBlock(), [], []
        app.stylesheet.add_source(css)
        async with app.run_test(size=(40, 10)) as pilot:
            await pilot.pause()
            block = app.query_one(ReportBlock)
            app.screen.screen_layout_refresh_signal.subscribe(block, layouts.append)
            for text in texts:
                layouts.clear()
                block.show([Text(text=text)])
                await pilot.pause()
                found.append((block.size.height, len(layouts)))
        return found

    return asyncio.run(session())


def test_another_figure_in_the_same_lines_lays_nothing_out_anew() -> None:
    assert heights_and_layouts("seven other words, still on one line") == [(1, 0)]


def test_only_the_lines_that_differ_are_painted() -> None:
    async def session() -> list[int]:
        app = OneBlock()
        async with app.run_test(size=(40, 10)) as pilot:
            block = app.query_one(ReportBlock)
            block.show([Text(text=line) for line in ("first", "second", "third")])
            await pilot.pause()
            painted: list[int] = []
            with patch.object(ReportBlock, "render_line", autospec=True) as render_line:
                render_line.side_effect = lambda widget, y: painted.append(y) or Widget.render_line(widget, y)
                block.show([Text(text=line) for line in ("first", "other", "third")])
                await pilot.pause()
            assert "other" in app.screen._compositor.render_strips()[1].text
        return painted

    assert asyncio.run(session()) == [1]


def strips_of(*blocks: Block, width: int = 40, select: bool = False) -> list[tuple[Strip, Strip]]:
    """Each line as the block paints it, and as Textual would."""

    async def session() -> list[tuple[Strip, Strip]]:
        app = OneBlock()
        async with app.run_test(size=(width, 10)) as pilot:
            block = app.query_one(ReportBlock)
            block.show(blocks)
            await pilot.pause()
            if select:
                app.screen.selections = {block: SELECT_ALL}
            return [(block.render_line(y), Widget.render_line(block, y)) for y in range(block.size.height)]

    return asyncio.run(session())


BLOCKS = (
    Notices(items=(("good", "fits"), ("warn", "a ! inside, and at the end !"), ("bad", "✗ twice: 漢字 and ✓glued"))),
    Commands(lines=("isoplan plan " + "--with-a-line-longer-than-the-block " * 2,)),
)


def test_a_line_is_painted_as_textual_would_but_for_the_colour_of_glyphs() -> None:
    pairs = strips_of(*BLOCKS)

    assert len(pairs) == 4
    assert [own.text for own, _ in pairs] == [theirs.text for _, theirs in pairs]
    assert pairs[-1][0].text.endswith("…")
    coloured = [[s.text for s in own if s.style.color != theirs._segments[0].style.color] for own, theirs in pairs]
    offsets = [next(iter(strip)).style.meta["offset"] for pair in pairs for strip in pair]
    assert offsets[::2] == offsets[1::2]
    assert coloured == [["✓"], ["!", "!", "!"], ["✗", "✗"], []]


def test_what_is_selected_is_marked() -> None:
    plain, marked = (strips_of(*BLOCKS, select=select)[0][0] for select in (False, True))

    assert plain.text == marked.text
    assert {segment.style for segment in plain}.isdisjoint(segment.style for segment in marked if segment.text.strip())


def test_room_that_a_style_sheet_reserves_takes_more_lines_without_a_layout() -> None:
    reserved = heights_and_layouts("words " * 20, "one line again", css="ReportBlock { min-height: 6; }")

    assert reserved == [(6, 0), (6, 0)]


def test_a_text_that_needs_more_lines_gets_them() -> None:
    (more, num_layouts), (fewer, _) = heights_and_layouts("words " * 20, "one line again")

    assert (more, fewer) == (4, 1)
    assert num_layouts > 0

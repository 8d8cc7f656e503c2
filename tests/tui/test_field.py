"""A field of a form: typing into it costs no layout until the text is longer than the field."""

import asyncio

import pytest
from textual.app import App, ComposeResult
from typing_extensions import override

from tui.widgets.field import Field


class OneField(App[None]):
    """A screen with nothing else."""

    CSS = "Field { width: 12; border: none; padding: 0; height: 1; }"

    @override
    def compose(self) -> ComposeResult:
        yield Field("75", title="Budget", example="250k", id="budget")


@pytest.mark.parametrize(("typed", "is_laid_out"), [(".123", False), ("0123456789012", True)])
def test_only_text_longer_than_the_field_lays_the_screen_out(typed: str, is_laid_out: bool) -> None:
    async def session() -> tuple[str, bool, str]:
        app, layouts = OneField(), []
        async with app.run_test(size=(40, 10)) as pilot:
            await pilot.press("end", "x", "backspace")  # the first change finds out how wide the field is
            await pilot.pause()
            field = app.query_one(Field)
            app.screen.screen_layout_refresh_signal.subscribe(field, layouts.append)
            await pilot.press(*typed)
            await pilot.pause()
            return field.value, bool(layouts), app.screen._compositor.render_strips()[0].text.rstrip()

    value, was_laid_out, shown = asyncio.run(session())

    assert value == f"75{typed}"
    assert was_laid_out == is_laid_out
    assert shown == value[-11:]

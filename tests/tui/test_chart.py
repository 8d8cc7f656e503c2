"""The braille drawing: dots where the curve is, a band that covers what it should, rules and marks."""

from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.braille import POINT, RULE, Cell, Fill, Frame, Line, Mark, Scene, draw

WIDTH, HEIGHT = 20, 6
UNIT = Frame(0.0, 1.0, 0.0, 1.0)


def text(cells: list[list[Cell]]) -> list[str]:
    return ["".join(cell.text for cell in row) for row in cells]


def dots(cells: list[list[Cell]]) -> int:
    return sum(
        (ord(cell.text) - 0x2800).bit_count() for row in cells for cell in row if 0x2800 <= ord(cell.text) <= 0x28FF
    )


def test_a_flat_line_is_one_dot_in_every_column() -> None:
    cells = draw(Scene([Line("plan", [(0.0, 0.45), (1.0, 0.45)])]), UNIT, width=WIDTH, height=HEIGHT)

    assert dots(cells) == 2 * WIDTH
    assert [row.strip() != "" for row in text(cells)] == [False, False, False, True, False, False]


def test_a_falling_line_goes_from_the_top_left_to_the_bottom_right() -> None:
    cells = draw(Scene([Line("actual", [(0.0, 1.0), (1.0, 0.0)])]), UNIT, width=WIDTH, height=HEIGHT)

    assert cells[0][0].front == "actual"
    assert cells[-1][-1].front == "actual"
    assert cells[0][-1] == cells[-1][0] == Cell()


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_flat_band_covers_its_height_to_an_eighth_of_a_cell(one: float, other: float) -> None:
    low, high = sorted((one, other))
    scene = Scene([], band=Fill([(0.0, low, high), (1.0, low, high)]))

    column = [row[WIDTH // 2] for row in draw(scene, UNIT, width=WIDTH, height=HEIGHT)]

    covered = sum(coverage(cell) for cell in column)
    # A band inside one cell is drawn whole or not at all.
    assert abs(covered - (high - low) * HEIGHT) <= (2 / 16 if high - low > 1 / HEIGHT else 1.0)


def coverage(cell: Cell) -> float:
    eighths = " ▁▂▃▄▅▆▇█".index(cell.text)
    if cell.is_inverse:
        return 1 - eighths / 8
    return 1.0 if cell.back == "band" else eighths / 8


def test_a_line_over_the_band_keeps_the_band_behind_it() -> None:
    scene = Scene([Line("plan", [(0.0, 0.45), (1.0, 0.45)])], band=Fill([(0.0, 0.0, 1.0), (1.0, 0.0, 1.0)]))

    cells = draw(scene, UNIT, width=WIDTH, height=HEIGHT)

    assert {(cell.front, cell.back) for cell in cells[HEIGHT // 2]} == {("plan", "band")}


def test_a_band_ends_where_its_points_end() -> None:
    scene = Scene([], band=Fill([(0.25, 0.0, 1.0), (0.75, 0.0, 1.0)]))

    row = draw(scene, UNIT, width=WIDTH, height=HEIGHT)[0]

    assert "".join("x" if cell.back == "band" else "." for cell in row) == "." * 5 + "x" * 10 + "." * 5


def test_rules_and_marks_stand_where_they_belong_on_a_log_axis() -> None:
    scene = Scene([], rules=[10.0], marks=[Mark(100.0, 1.0, "actual")], is_x_log=True)

    rows = text(draw(scene, Frame(1.0, 100.0, 0.0, 1.001), width=WIDTH, height=HEIGHT))

    assert all(row[9] == RULE or row[10] == RULE for row in rows)
    assert rows[0][-1] == POINT


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), max_size=20), st.integers(1, 40), st.integers(1, 12))
def test_any_points_draw_a_full_grid(points: list[tuple[float, float]], width: int, height: int) -> None:
    scene = Scene(
        [Line("plan", sorted(points))], rules=[x for x, _ in points], marks=[Mark(x, y, "") for x, y in points]
    )

    cells = draw(scene, Frame(-1.0, 1.0, -1.0, 1.0), width=width, height=height)

    assert [len(row) for row in cells] == [width] * height

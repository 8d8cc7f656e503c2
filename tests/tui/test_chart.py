"""The braille drawing: dots where the curve is, a band that covers what it should, rules and marks."""

from hypothesis import given
from hypothesis import strategies as st

from tests.samples import sample_plan, sample_step
from tui.widgets.braille import ABOVE, BELOW, POINT, RULE, Cell, Fill, Frame, Line, Mark, Scene, draw
from tui.widgets.chart import frame_of
from tui.widgets.loss_scene import delta_scene

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


def test_what_lies_beyond_the_frame_is_marked_at_its_edge() -> None:
    line = Line("actual", [(0.0, 9.0), (0.4, 9.0), (0.45, 0.5), (0.6, 0.5), (0.65, -7.0), (1.0, -7.0)])
    scene = Scene([line], marks=[Mark(0.1, 3.0, "actual")])

    rows = text(draw(scene, UNIT, width=WIDTH, height=HEIGHT))

    assert rows[0].startswith(ABOVE * 8)
    assert rows[-1].endswith(BELOW * 7)
    assert POINT not in "".join(rows)


def test_the_band_keeps_a_third_of_the_differences_however_far_the_warm_up_lies() -> None:
    plan = sample_plan()
    steps = [sample_step(plan, step) for step in range(800, 23_641, 200)]
    far = [step.model_copy(update={"loss_ema": step.loss_ema + 4.0}) for step in steps[:40]]
    scene = delta_scene(plan, steps=[*far, *steps[40:]], gates=())

    frame = frame_of(scene)

    assert frame is not None
    band = [edge for _, low, high in scene.band.points for edge in (low, high)]
    assert (max(band) - min(band)) / (frame.y_high - frame.y_low) > 1 / 3
    assert ABOVE in "".join(text(draw(scene, frame, width=60, height=8)))

"""The report's files: what its page, charts, table and pictures hold, read back from them."""

import base64
import csv
import hashlib
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from convgrid.compare import Answer, Interaction, Level, Setting, Trials, answer, report
from convgrid.compare.racing import RaceRules
from convgrid.compare.report import write
from convgrid.compare.report.captions import Wording
from convgrid.compare.report.chapters import CHAPTERS
from convgrid.compare.report.charts import (
    interaction_maps,
    learning_curves,
    main_effects,
    parallel_coordinates,
    pareto_fronts,
    ranked_intervals,
)
from convgrid.compare.report.drawing import Area, Box, Dot, Drawing, Line, Text
from convgrid.compare.report.palette import DARK, LIGHT
from convgrid.compare.report.svg import svg
from convgrid.errors import DiskError
from synthetic_trials import GRID, make_trials

ACCURACY = Wording("val/accuracy", "max", 3)
ERROR = Wording("val/mae", "min", 1)
EMPTY = Answer((), "", None, None, (), (), {}, {}, {}, {}, {})
HARMFUL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</style>{{ 7 * 7 }}&amp;$x^2$")


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw[self.cdata_elem] = self.raw.get(self.cdata_elem, "") + data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def setting(place: int, mean: float, **known: Any) -> Setting:
    values = known.pop("values", {"arch.n": place})
    blank: dict[str, Any] = dict.fromkeys(("spread", "interval", "p", "parameters", "multiply_adds", "seconds"))
    rest = {"trials": (f"t{place}",), "n": 1, "status": "not compared", **blank, **known}
    return Setting(values=values, mean=mean, place=place, **rest)


def marks(drawing: Drawing, kind: type) -> list[Any]:
    return [mark for mark in drawing.marks if type(mark) is kind]


@pytest.fixture(scope="module")
def trials() -> Trials:
    skipped = {"arch.m=6 pools a 8x8 input 6 times.": [f"arch.n={n} arch.m=6" for n in range(9)]}
    return make_trials(GRID, failed=(3, 4), pruned=(30,), skipped=skipped)


@pytest.fixture(scope="module")
def folder(trials: Trials, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(trials, answer(trials), tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Elements:
    return Elements((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at the page only: pictures take most of a report's time."""
    monkeypatch.setattr(report, "save", lambda *_: None)


def test_the_folder_has_the_page_the_table_and_a_picture_of_each_chart(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "table.csv",
        *(f"{name}.png" for name in CHAPTERS),
    }
    for name in CHAPTERS:
        pixels = np.asarray(Image.open(folder / f"{name}.png").convert("L"))
        assert pixels.shape[1] > 400
        assert (pixels[:4] == 255).all()
        assert 0.005 < (pixels < 200).mean() < 0.5


def test_a_second_report_leaves_nothing_of_the_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "interactions.png").touch()
    (tmp_path / "mine.txt").touch()
    one_key = make_trials({"arch.n": (1, 2)})
    write(one_key, answer(one_key), tmp_path)
    assert not (tmp_path / "interactions.png").exists()
    assert (tmp_path / "mine.txt").exists()


def test_the_page_allows_its_own_script_and_style_only(page: Elements) -> None:
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    hashes = {
        tag: f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for tag, text in page.raw.items()
    }
    assert policy == f"default-src 'none'; {hashes['style']}; {hashes['script']}; base-uri 'none'; form-action 'none'"


def test_the_page_points_at_nothing_outside(page: Elements) -> None:
    addresses = [value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(address and address.startswith("#") for address in addresses)
    inside = {attributes.get("id") for _, attributes in page.found}
    assert {address[1:] for address in addresses if address} <= inside
    assert "url(" not in page.raw["style"]


def test_nothing_that_a_value_holds_becomes_an_element(tmp_path: Path) -> None:
    harmful = make_trials({"arch.n": (1, 2), "arch.pattern": HARMFUL}, failed=(1,), skipped={HARMFUL[0]: [HARMFUL[1]]})
    harmful = replace(harmful, title=HARMFUL[0], command=HARMFUL[1])
    text = write(harmful, answer(harmful), tmp_path).read_text(encoding="utf-8")
    page = Elements(text)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert page.all("img") == []
    cells = [word for word in page.words if word in HARMFUL]
    assert set(HARMFUL) <= set(cells)
    for drawing in re.findall(r"<svg.*?</svg>", text):
        ElementTree.fromstring(drawing)


def test_the_answer_stands_at_the_top_before_what_is_unfair_and_the_ranking(trials: Trials, folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = answer(trials)
    first = found.sentence.split("; ")[0].replace("+-", "±")
    order = [text.index(part) for part in (f"<h1>{first}", found.warnings[0][:20], 'id="ranking"', 'id="effects"')]
    assert order == sorted(order)
    assert trials.command in text
    assert all(note.replace("+-", "±") in unescape(text) for note in found.notes)


@pytest.mark.usefixtures("without_pictures")
def test_trials_that_are_left_are_counted_at_the_top(trials: Trials, tmp_path: Path) -> None:
    text = write(replace(trials, left=7), answer(trials), tmp_path).read_text(encoding="utf-8")
    assert "<dd>33 finished, 1 pruned, 2 failed, 7 left</dd>" in text


def test_what_did_not_finish_is_grouped_and_counted(page: Elements) -> None:
    words = " ".join(" ".join(page.words).split())
    assert "skipped 9 arch.m=6 pools a 8x8 input 6 times. arch.n=0 arch.m=6" in words
    assert "and 4 more" in words
    assert "failed 2 ValueError: no room for 3 MiB" in words
    assert "pruned 1 stopped early, after 3 epochs" in words


def test_the_table_has_a_row_for_each_setting_and_no_test_metric(trials: Trials, folder: Path) -> None:
    found = answer(trials).settings
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == [
        "place", "arch.n", "arch.m", "optimizer", "mean", "spread", "low", "high", "runs", "p", "status", "parameters",
        "multiply_adds", "seconds", "trials",
    ]  # fmt: skip
    assert table["mean"].tolist() == [each.mean for each in found]
    assert table["arch.n"].tolist() == [each.values["arch.n"] for each in found]
    assert np.isnan(table["p"][0])
    ids = [trial for row in table["trials"] for trial in row.split()]
    assert sorted(ids) == sorted(trials.finished.index)


def test_a_value_with_commas_and_quotes_stays_one_cell(tmp_path: Path) -> None:
    awkward = ('CONV(6, kernel=5) -> "FC"', "INPUT,\nFC")
    made = make_trials({"arch.pattern": awkward})
    write(made, answer(made), tmp_path)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert {row["arch.pattern"] for row in csv.DictReader(file)} == set(awkward)


def test_names_of_others_are_texts_in_the_table(tmp_path: Path) -> None:
    made = make_trials({"=cmd()": ("@SUM(1)", "\x1b[2J", "<script>alert(1)</script>")})
    page = write(made, answer(made), tmp_path).read_text(encoding="utf-8")
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert text.startswith("place,'=cmd(),mean")
    assert ",'@SUM(1)," in text
    assert "\x1b" not in text
    assert "alert(1)" in page
    assert "<script>alert" not in page


@pytest.mark.usefixtures("without_pictures")
def test_settings_that_were_run_once_have_no_interval_and_no_p(tmp_path: Path) -> None:
    once = make_trials(seeds=1)
    page = Elements(write(once, answer(once), tmp_path).read_text(encoding="utf-8"))
    keys = [head["data-key"] for head in page.all("th") if "data-key" in head]
    assert keys == [
        "place", "val/accuracy", "arch.n", "arch.m", "optimizer", "parameters", "multiply_adds", "seconds"
    ]  # fmt: skip


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_of_one_key_has_no_pairs_and_no_parallel_coordinates(tmp_path: Path) -> None:
    one = make_trials({"arch.n": (1, 2, 3)})
    page = Elements(write(one, answer(one), tmp_path).read_text(encoding="utf-8"))
    sections = [section["id"] for section in page.all("section") if "id" in section]
    assert sections[:2] == ["ranking", "effects"]
    assert not {"interactions", "parallel"} & set(sections)


def test_a_disk_that_cannot_be_written_is_told(trials: Trials, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="file/report cannot be written: Not a directory"):
        write(trials, answer(trials), tmp_path / "file" / "report")


def test_effects_have_one_scale_in_all_panels() -> None:
    flat = (Level(1, 0.80, (0.79, 0.81), 4, 2), Level(2, 0.80, None, 4, 2))
    steep = (Level("adam", 0.90, None, 4, 2), Level("sgd", 0.70, (0.65, 0.75), 4, 2))
    both = replace(
        EMPTY,
        settings=(setting(1, 0.9, values={"arch.n": 1, "optimizer": "adam"}),),
        effects={"arch.n": flat, "optimizer": steep},
    )
    first, second = main_effects(both, ACCURACY)
    left, right = marks(first, Dot)
    assert left.y == right.y
    adam, sgd = marks(second, Dot)
    assert adam.x > sgd.x  # names are rows, their values lie across
    assert adam.y < sgd.y  # the best on top
    whisker = marks(first, Line)[-1]
    drawn = abs(whisker.points[0][1] - whisker.points[1][1]) / (first.height - 40 - 28)
    assert drawn == pytest.approx(0.02 / (1.1 * 0.25))  # 0.65 to 0.90, and a twentieth at either end


@pytest.mark.parametrize(("words", "strongest"), [(ACCURACY, "0.900"), (ERROR, "0.1")])
def test_a_heatmap_is_strongest_where_it_is_best(words: Wording, strongest: str) -> None:
    table = Interaction((1, 2), (1, 2), ((0.1, 0.5), (None, 0.9)), ((2, 2), (0, 2)))
    (drawing,) = interaction_maps(replace(EMPTY, interactions={("arch.n", "arch.m"): table}), words)
    cells = [box for box in marks(drawing, Box) if box.tip]
    assert [box.paint for box in cells if f": {strongest}, " in box.tip] == ["q8"]
    assert len(cells) == 3
    assert "none" in [mark.words for mark in marks(drawing, Text)]


def test_a_front_is_filled_and_its_stairs_go_along_what_is_unbeaten() -> None:
    sizes = {1: (0.90, 400), 2: (0.88, 500), 3: (0.85, 100), 4: (0.80, 200)}
    settings = tuple(setting(place, mean, parameters=size) for place, (mean, size) in sizes.items())
    (drawing,) = pareto_fronts(replace(EMPTY, settings=settings, pareto={"parameters": (1, 3)}), ACCURACY)
    dots = {dot.setting: dot for dot in marks(drawing, Dot)}
    assert {place for place, dot in dots.items() if not dot.hollow} == {1, 3}
    stairs = next(line for line in marks(drawing, Line) if len(line.points) == 4)
    assert stairs.points[0] == (dots[3].x, dots[3].y)
    assert stairs.points[1] == (dots[1].x, dots[3].y)
    assert stairs.points[2] == (dots[1].x, dots[1].y)
    assert {text.words for text in marks(drawing, Text) if text.setting} == {"1", "3"}


def test_settings_far_below_the_others_do_not_flatten_a_front() -> None:
    means = [0.93, 0.92, 0.91, 0.90, 0.10]
    settings = tuple(setting(place, mean, parameters=100 * place) for place, mean in enumerate(means, start=1))
    (drawing,) = pareto_fronts(replace(EMPTY, settings=settings, pareto={"parameters": (1,)}), ACCURACY)
    assert len(marks(drawing, Dot)) == 4
    assert "val/accuracy against parameters; 1 far worse not shown" in [text.words for text in marks(drawing, Text)]


def test_curves_are_the_mean_over_seeds_with_a_band_of_one_standard_deviation() -> None:
    made = make_trials({"arch.n": (1, 2)}, seeds=4, epochs=6)
    found = answer(made)
    drawing = learning_curves(made, found)[0]
    best = found.settings[0]
    (line,) = [line for line in marks(drawing, Line) if line.setting == 1]
    (band,) = [area for area in marks(drawing, Area) if area.setting == 1]
    rows = made.curves[(made.curves["metric"] == made.metric) & made.curves["trial"].isin(best.trials)]
    values = rows.pivot_table(index="epoch", columns="trial", values="value").to_numpy()
    means, spreads = values.mean(axis=1), values.std(axis=1, ddof=1)
    heights = np.array([y for _, y in line.points])
    means, spreads = means[-len(heights) :], spreads[-len(heights) :]
    pixels = (heights[0] - heights[-1]) / (means[-1] - means[0])  # of a unit
    np.testing.assert_allclose(heights[0] - heights, (means - means[0]) * pixels, atol=1e-6)
    upper = np.array([y for _, y in band.points])[: len(heights)]
    inside = upper > 28 + 1e-6  # above that the axis ends
    np.testing.assert_allclose((heights - upper)[inside], (spreads * pixels)[inside], atol=1e-6)


def test_a_pruned_trial_ends_in_a_cross_where_it_stopped() -> None:
    made = make_trials({"arch.n": (1, 2)}, epochs=9, pruned=(5,))
    drawing = learning_curves(made, answer(made))[0]
    strokes = [line for line in marks(drawing, Line) if line.paint == "alarm"]
    assert len(strokes) == 2
    middle = np.mean([x for stroke in strokes for x, _ in stroke.points])
    ends = [line.points[-1][0] for line in marks(drawing, Line) if line.setting]
    start = next(line.points[0][0] for line in marks(drawing, Line) if line.paint == "muted")
    assert (middle - start) / (max(ends) - start) == pytest.approx((3 - 1) / (9 - 1))


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    made = make_trials({"arch.n": (1, 2)}, epochs=5)
    values = made.curves["value"].to_numpy(copy=True)
    values[5::7] = np.inf
    broken = replace(made, curves=made.curves.assign(value=values))
    for drawing in learning_curves(broken, answer(broken)):
        points = [point for line in marks(drawing, Line) for point in line.points]
        assert np.isfinite(points).all()


def test_every_setting_is_a_line_that_ends_at_its_mean() -> None:
    found = answer(make_trials())
    wide, narrow = parallel_coordinates(found, ACCURACY)
    lines = {line.setting: line for line in marks(wide, Line) if line.setting}
    assert set(lines) == {each.place for each in found.settings}
    heights = [lines[each.place].points[-1][1] for each in found.settings]
    assert heights == sorted(heights)
    assert all(len(line.points) == 4 for line in lines.values())
    assert narrow.width == 360


def test_a_setting_without_a_key_passes_its_axis_by() -> None:
    values = ({"optimizer": "sgd", "optimizer.momentum": 0.9}, {"optimizer": "adam"})
    settings = tuple(setting(place, 1.0 / place, values=each) for place, each in enumerate(values, start=1))
    wide, _ = parallel_coordinates(replace(EMPTY, settings=settings), ACCURACY)
    assert {line.setting: len(line.points) for line in marks(wide, Line) if line.setting} == {1: 3, 2: 2}


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_marks_stand_out_from_their_ground(palette: dict[str, str]) -> None:
    for role in ("ink", "muted", "accent", "alarm"):
        assert contrast(palette[role], palette["paper"]) >= 4.5, role
        assert contrast(palette[role], palette["panel"]) >= 4.5, role
    for role in ("s1", "s2", "s3", "s4", "s5", "s6", "better"):
        assert contrast(palette[role], palette["paper"]) >= 3, role
    for step in range(9):
        assert contrast(palette[f"on{step}"], palette[f"q{step}"]) >= 4.5, step


def test_a_drawing_says_its_values_to_who_cannot_see_it() -> None:
    table = Interaction((1, 2), ("adam",), ((0.1,), (0.5,)), ((2,), (2,)))
    (drawing,) = interaction_maps(replace(EMPTY, interactions={("arch.n", "optimizer"): table}), ACCURACY)
    label = ElementTree.fromstring(svg(drawing)).attrib["aria-label"]
    assert label == "mean val/accuracy by arch.n and optimizer: 1 and adam 0.100, 2 and adam 0.500"


def test_a_short_training_has_whole_epochs_on_its_axis() -> None:
    trials = make_trials({"arch.n": (1, 2)}, epochs=2)
    drawn = [mark for drawing in learning_curves(trials, answer(trials)) for mark in drawing.marks]
    foot = {mark.words for mark in drawn if isinstance(mark, Text) and mark.anchor == "middle"}
    assert foot == {"1", "2", "epoch"}


@pytest.mark.usefixtures("without_pictures")
def test_nothing_drawn_of_an_accuracy_goes_beyond_one(tmp_path: Path) -> None:
    trials = make_trials({"arch.n": (1, 2, 3)}, lambda _: 0.998, spread=0.01)
    trials.frame[trials.objective] = trials.frame[trials.objective].clip(upper=1.0)
    trials.curves["value"] = trials.curves["value"].clip(upper=1.0)
    found = answer(trials)
    text = write(trials, found, tmp_path).read_text(encoding="utf-8")
    ends = re.search(r"Intervals are drawn from (\S+) to (\S+) and", text)
    assert ends is not None
    assert float(ends[1]) < 0.998
    assert float(ends[2]) == 1.0
    curve = learning_curves(trials, found)[0]
    top = min(y for mark in curve.marks if isinstance(mark, Line) for _, y in mark.points)
    bands = [y for mark in curve.marks if isinstance(mark, Area) for _, y in mark.points]
    assert top <= min(bands)


@pytest.mark.usefixtures("without_pictures")
def test_a_race_shows_who_is_best_in_question_and_out(tmp_path: Path) -> None:
    trials = make_trials({"arch.n": (1, 2, 3)}, lambda point: 0.9 + 0.03 * (point["arch.n"] == 3), spread=0.0005)
    trials = replace(trials, race=RaceRules(3, 0.001, 20, None))
    found = answer(trials)
    page = Elements(write(trials, found, tmp_path).read_text(encoding="utf-8"))
    keys = [head["data-key"] for head in page.all("th") if "data-key" in head]
    assert keys == [
        "place", "val/accuracy", "arch.n", "interval", "runs", "parameters", "multiply_adds", "seconds", "status"
    ]  # fmt: skip
    words = " ".join(page.words)
    assert words.count("out after 3 seeds") >= 2
    assert "★ best" in words
    assert "No p and no interval is shown" in words
    (ranking,) = ranked_intervals(found, ACCURACY)
    dots = [mark for mark in ranking.marks if isinstance(mark, Dot)]
    assert [dot.hollow for dot in dots] == [False, True, True]
    told = [mark.words for mark in ranking.marks if isinstance(mark, Text)]
    assert sum(text.endswith("out after 3 seeds") for text in told) == 2

"""Which charts a report has, in its order, and how each is to be read."""

from collections.abc import Sequence
from dataclasses import dataclass

from convgrid.compare.report.captions import Wording, ids_of, wording_of
from convgrid.compare.report.charts import (
    importance_bars,
    interaction_maps,
    learning_curves,
    main_effects,
    parallel_coordinates,
    pareto_fronts,
    ranked_intervals,
)
from convgrid.compare.report.charts.curves import MAX_CURVES
from convgrid.compare.report.charts.interactions import MAX_CELLS
from convgrid.compare.report.drawing import NAMED, Drawing
from convgrid.compare.results import Answer
from convgrid.compare.trials import Trials

CHAPTERS = ("ranking", "effects", "interactions", "importance", "curves", "pareto", "parallel")


@dataclass(frozen=True)
class Chapter:
    """A chart of the report.

    Args:
        name: Of its PNG, and of its place in the page.
        title: In a few words.
        words: How it is read.
        panels: What the page shows.
        picture: What the PNG shows.
        columns: Panels beside each other in the PNG.
    """

    name: str
    title: str
    words: str
    panels: Sequence[Drawing]
    picture: Sequence[Drawing]
    columns: int = 3


def chapters_of(trials: Trials, answer: Answer) -> list[Chapter]:
    """Draw all charts.

    Args:
        answer: What the comparison comes to.

    Returns:
        Those that there is something to show in.
    """
    words = wording_of(trials, answer)
    parallel = parallel_coordinates(answer, words) if len(answer.settings) > 1 else []
    drawn = {
        "ranking": ("Ranking", "", ranked_intervals(answer, words)),
        "effects": ("What each key does", _effects(answer, words), main_effects(answer, words)),
        "interactions": ("Pairs of keys", _pairs(answer, words), interaction_maps(answer, words)),
        "importance": ("What matters", _shares(words), importance_bars(answer)),
        "curves": ("Learning curves", _curves(trials, answer), learning_curves(trials, answer)),
        "pareto": ("What is unbeaten at its cost", _fronts(words), pareto_fronts(answer, words)),
        "parallel": ("Every setting", _lines(answer, words), parallel),
    }
    return [
        Chapter(name, title, text, panels, panels[:1] if name == "parallel" else panels)
        for name, (title, text, panels) in drawn.items()
        if panels
    ]


def _effects(answer: Answer, words: Wording) -> str:
    intervals = any(level.interval for levels in answer.effects.values() for level in levels)
    return (
        f"Mean {words.metric} at each value of a key, over all combinations of the other keys; {words.better}. "
        "All panels have one scale, which need not start at 0."
        + (" Strokes are intervals of the means." if intervals else "")
    )


def _pairs(answer: Answer, words: Wording) -> str:
    left_out = sum(max(len(each.rows), len(each.columns)) > MAX_CELLS for each in answer.interactions.values())
    more = f" Left out: {left_out} pairs with more than {MAX_CELLS} values of a key." if left_out else ""
    return f"Mean {words.metric} of two keys' values together, on one scale for all pairs; stronger is better.{more}"


def _shares(words: Wording) -> str:
    return f"Share of each key in the variance of {words.metric} between trials, by functional analysis of variance."


def _curves(trials: Trials, answer: Answer) -> str:
    coloured = min(NAMED, len(answer.settings))
    best = "the best setting" if coloured == 1 else f"the best {coloured} settings"
    mean = f"Means over the repetitions of {best} with a band of one standard deviation"
    many = len(answer.settings) - coloured
    others = f"; grey: {'others' if many <= MAX_CURVES else f'{MAX_CURVES} of the others, at even distances'}"
    pruned = len(ids_of(trials, "pruned"))
    ends = ", and ends with the first of its runs" if trials.repetitions else ""
    return (
        f"{mean if trials.repetitions else best.capitalize()}{others if many else ''}. "
        f"A line starts where it comes into sight{ends}."
        + (f" Dashed, to a cross: where pruned trials stopped ({pruned:,})." if pruned else "")
    )


def _fronts(words: Wording) -> str:
    return (
        f"Filled: no other setting has both a better {words.metric} and a lower cost. "
        "Numbers are places in the ranking; the stairs are what a cost can buy."
    )


def _lines(answer: Answer, words: Wording) -> str:
    many = ", the others of the best quarter darker" if len(answer.settings) > 4 * NAMED else ""
    return (
        f"A line for each of {len(answer.settings):,} settings, through its values to its {words.metric}. "
        f"The best {min(NAMED, len(answer.settings))} are coloured{many}. "
        "Lines through one value lie side by side, the best at the axis' far end."
    )

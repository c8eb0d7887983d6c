"""What makes a comparison unfair: all that differs between trials though nobody asked how it matters."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from convgrid.compare.ranking import Sample
from convgrid.compare.sentences import named, number_of, short, text, unit
from convgrid.compare.trials import Trials

MAX_NAMED = 3  # values, or settings, of one warning
UNEQUAL = 1.5  # times as many settings with one option as with another
RARE = 0.01  # chance of failures that gather like this

Same = Sequence[tuple[tuple[str, ...], str]]  # parameters and tags that should not differ, and what it means

RESULTS: Same = (
    (("data", "data.path", "data.table", "data.digest", "data.limit", "data.limit_evaluation", "trainer.limit",
      "trainer.overfit"), "different data, on which results are not comparable"),
    (("data.split", "data.split_seed"), "different divisions into training and validation, some of them easier"),
    (("data.group",), "different groups: without them, images that belong together are on both sides"),
    (("objective.metric", "objective.mode"), "different objectives: best epochs were chosen differently"),
    (("trainer.max_epochs", "trainer.patience"), "different lengths of training"),
    (("augment", "trainer.test_views"), "different augmentation"),
    (("imbalance.class_weights", "imbalance.sampling"), "different weights of classes"),
    (("trainer.precision",), "different precision of numbers"),
)  # fmt: skip
CIRCUMSTANCES: Same = (
    (("tag.device", "trainer.accelerator"), "different devices: results and times differ a little by them"),
    (("tag.convgrid", "tag.git.commit", "tag.torch"), "different versions of the code"),
    (("tag.git.dirty",), "changes of the code that were not committed: some trials may have run other code"),
    (("tag.host",), "different machines: times are not comparable"),
)
CODE = "different code of your own components: one name means several things"


def warnings(found: Sequence[Sample], trials: Trials) -> tuple[str, ...]:
    """Tell what is unfair; what was swept on purpose is the question, and no unfairness.

    Returns:
        Sentences, the most serious first; none where all is fair.
    """
    return (
        *trials.warnings,
        *_mixed(trials),
        *_chosen_by_test(trials),
        *_differing(RESULTS, trials),
        *_differing([((key,), CODE) for key in map(str, trials.frame) if key.startswith("tag.code.")], trials),
        *_gathered_failures(trials),
        *_missing_repetitions(found, trials),
        *_unequal_tuning(found, trials),
        *_pruned(found, trials),
        *_differing(CIRCUMSTANCES, trials),
    )


def _mixed(trials: Trials) -> Iterator[str]:
    if trials.mixed:
        yield (
            f"Runs that count as repetitions differ in {', '.join(trials.mixed)} as well, and so their spread is not "
            f"chance alone. To tell them apart: --keys {' '.join([*trials.keys, *trials.mixed])}"
        )


def _chosen_by_test(trials: Trials) -> Iterator[str]:
    if trials.metric.startswith("test/"):
        yield (
            f"Chosen by {trials.metric}: the test images made the choice, so none are left to say how good it is. "
            "Compare by a validation metric."
        )


def _differing(same: Same, trials: Trials) -> Iterator[str]:
    frame = trials.finished
    for keys, why in same:
        for key in keys:
            if key in frame and not _is_asked(key, trials):
                values = frame[key].map(text, na_action="ignore").value_counts().sort_index()
                values = values.sort_values(ascending=False, kind="stable")
                if len(values) > 1:
                    yield f"{why[0].upper()}{why[1:]}: {_listed(key, values)}."
                    break  # what follows from it differs, too


def _is_asked(key: str, trials: Trials) -> bool:
    return any(key == asked or key.startswith(f"{asked}.") for asked in trials.swept)


def _listed(key: str, values: "pd.Series[int]") -> str:
    """Such as "data.limit=6000 (24 trials), data.limit=0 (12 trials)"."""
    name = key.removeprefix("tag.")
    shown = [f"{name}={_brief(value)} ({number_of(int(count), 'trial')})" for value, count in values.items()]
    more = len(shown) - MAX_NAMED
    return ", ".join(shown[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _brief(value: Any) -> str:
    word = str(value)
    return word if len(word) <= 30 else f"{word[:10]}..."


def _gathered_failures(trials: Trials) -> Iterator[str]:
    """Where one value fails more often, what is left of it is what happened to work."""
    ended = trials.frame[trials.frame["status"].isin(["finished", "pruned", "failed"])]
    failed = ended["status"] == "failed"
    if not failed.any():
        return
    from scipy import stats  # a second to import

    tests = [(key, value) for key in trials.keys for value in ended[key].dropna().unique()]
    worst: tuple[float, str] = (RARE / max(1, len(tests)), "")
    for key, value in tests:
        have = ended[key] == value
        inside, outside = int((failed & have).sum()), int((failed & ~have).sum())
        table = [[inside, int(have.sum()) - inside], [outside, int((~have).sum()) - outside]]
        p = float(stats.fisher_exact(table, alternative="greater")[1])  # pyright: ignore[reportArgumentType]
        if p < worst[0]:
            of, rest = f"{inside} of {int(have.sum())} trials", f"{outside} of {int((~have).sum())}"
            which = f"{key}={text(_plain(value))}"
            worst = (
                p,
                f"Failures gather: {of} with {which} failed, {rest} of the others. "
                f"The results of {which} are of those that survived.",
            )
    if worst[1]:
        yield worst[1]


def _missing_repetitions(found: Sequence[Sample], trials: Trials) -> Iterator[str]:
    most = max((len(each.trials) for each in found), default=0)
    if trials.race is not None:  # there the settings in question have more
        return
    fewer = [each for each in found if len(each.trials) < most]
    if fewer:
        names = short(trials.keys)
        shown = [
            f"{named(each.values, names)} has {len(each.trials)} of {number_of(most, unit(trials))}" for each in fewer
        ]
        more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
        yield f"Missing repetitions: {'; '.join(shown[:MAX_NAMED])}{more}. Few of them make a mean easily too good."


def _unequal_tuning(found: Sequence[Sample], trials: Trials) -> Iterator[str]:
    """The best of more tries looks better. Keys of numbers do not count: some of their values may be infeasible."""
    for key in trials.keys:
        values = [each.values[key] for each in found if key in each.values]
        if len(trials.keys) < 2 or all(isinstance(value, int | float) for value in values):
            continue
        counts = pd.Series(list(map(text, values))).value_counts()
        if len(counts) > 1 and counts.iloc[0] >= UNEQUAL * counts.iloc[-1]:
            yield (
                f"Unequal tuning: {key}={counts.index[0]} was tried in {number_of(int(counts.iloc[0]), 'setting')}, "
                f"{key}={counts.index[-1]} in {int(counts.iloc[-1])}. The best of more tries looks better."
            )


def _pruned(found: Sequence[Sample], trials: Trials) -> Iterator[str]:
    pruned = trials.frame[trials.frame["status"] == "pruned"]
    if pruned.empty:
        return
    alive = {tuple(each.values.get(key) for key in trials.keys) for each in found}
    cells = [tuple(_plain(row[key]) for key in trials.keys) for _, row in pruned.iterrows()]
    partly = len(set(cells) & alive)
    if partly:
        yield (
            f"Pruned: {number_of(len(pruned), 'trial')} ended early and count for nothing; "
            f"{number_of(partly, 'setting')} lost repetitions so, "
            f"and {'is' if partly == 1 else 'are'} judged by those that did well."
        )


def _plain(value: Any) -> Any:
    from convgrid.compare.ranking import plain

    return None if pd.isna(value) else plain(value)

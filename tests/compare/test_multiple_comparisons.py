import numpy as np
import pytest
from scipy import stats

from convgrid.compare import multiple_comparisons
from convgrid.compare.multiple_comparisons import (
    IN_COMPARISONS,
    compare_independent,
    compare_paired,
    half_widths,
    overlap,
    spreads,
)

GENERATOR = np.random.default_rng
TOLD = 5 / 4.6  # times a p that is computed: decisions are at 4.6 %, so that simulated rates stay below 5 %


def test_two_settings_are_compared_as_by_welch_with_fewer_degrees_of_freedom() -> None:
    first, second = np.array([0.93, 0.95, 0.91, 0.94]), np.array([0.88, 0.92, 0.86, 0.85])
    ratio, p = stats.ttest_ind(first, second, equal_var=False)  # an independent source of the ratio
    error = first.var(ddof=1) / 4, second.var(ddof=1) / 4
    welch = sum(error) ** 2 / (error[0] ** 2 / 3 + error[1] ** 2 / 3)
    assert 2 * stats.t.sf(ratio, welch) == pytest.approx(p)
    assert compare_independent([first, second]) == pytest.approx([TOLD * 2 * stats.t.sf(ratio, (welch + 3) / 2)])


def test_equal_spreads_in_many_settings_come_near_tukeys_range() -> None:
    values = [GENERATOR(1).standard_normal(200) + mean for mean in (0.25, 0.1, 0.0)]
    tukey = stats.tukey_hsd(*values).pvalue[0]
    p = compare_independent(values)
    assert p[1] == pytest.approx(TOLD * tukey[2], rel=0.1)  # the clearest is judged as the range of all
    assert p[0] / TOLD == pytest.approx(stats.ttest_ind(values[0], values[1])[1], rel=0.1)  # the last one by itself


def test_the_adjusted_p_of_a_nearer_setting_is_never_smaller() -> None:
    values = sorted(GENERATOR(0).normal(size=(12, 3)), key=lambda sample: -sample.mean())
    p = compare_independent(values)
    alone = [2 * stats.t.sf(1, 2), *p]
    assert len(alone) == 12
    assert p.max() <= 1
    assert (p > 0).all()
    far = compare_independent([values[0] + 1000, *values[1:]])
    assert far.max() < 0.001
    assert (far <= p).all()


def test_seeds_that_agree_to_the_last_digit_do_not_make_a_winner() -> None:
    agreeing = [np.full(3, 0.9963), np.array([0.9926, 0.9963, 0.9963]), np.array([0.9926, 0.9926, 0.9963])]
    assert compare_independent(agreeing).min() > 0.05
    assert compare_independent([np.full(3, 0.99)] * 3).tolist() == [1.0, 1.0]


def test_a_lucky_spread_is_raised_and_none_is_lowered() -> None:
    variance = np.array([1e-6, *np.full(9, 1.0), 100.0])
    found = spreads(variance, np.full(11, 2), IN_COMPARISONS)
    assert found.variance[0] > 100 * variance[0]
    assert (found.variance >= variance).all()
    assert (found.freedom > 2).all()
    assert spreads(variance[:2], np.full(2, 2), IN_COMPARISONS).variance.tolist() == variance[:2].tolist()


def test_the_typical_spread_is_that_of_smyths_fit() -> None:
    # of variances drawn from 4 * chi2(6) / 6 over a scaled inverse chi2 with 8 degrees of freedom, the fit gives these
    generator, count = GENERATOR(3), 20_000
    truth = 4.0 * 8 / generator.chisquare(8, count)
    drawn = truth * generator.chisquare(6, count) / 6
    typical, worth = multiple_comparisons._typical(drawn, np.full(count, 6))
    assert (typical, worth) == pytest.approx((4.0, 8.0), rel=0.05)


def test_folds_are_paired_and_their_overlap_counts() -> None:
    generator = GENERATOR(5)
    hard = generator.normal(scale=0.1, size=5)  # folds differ far more than settings
    first, second = 0.9 + hard, 0.88 + hard + generator.normal(scale=0.004, size=5)
    apart = first - second
    t = apart.mean() / (apart.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4))  # Nadeau and Bengio: held out to trained is 1 to 4
    assert overlap(np.array([5])) == pytest.approx([1 / 5 + 1 / 4])
    assert compare_paired([first, second]) == pytest.approx([TOLD * 2 * stats.t.sf(t, 4)])
    assert compare_independent([first, second])[0] > 0.5


def test_a_setting_that_shares_fewer_than_two_folds_with_the_best_is_not_compared() -> None:
    whole, half = np.array([0.9, 0.8, 0.95]), np.array([0.8, np.nan, np.nan])
    p = compare_paired([whole, whole - 0.01, half])
    assert np.isnan(p[1])
    assert np.isfinite(p[0])
    assert np.isnan(compare_paired([whole, half])).all()


def test_an_interval_of_one_setting_is_students() -> None:
    values = np.array([0.91, 0.93, 0.92, 0.95, 0.9])
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    half = half_widths(values.var(ddof=1, keepdims=True), np.array([4]), np.array([1 / 5]))
    assert half == pytest.approx([(high - low) / 2])


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is called worse, without working out the p of those that are not."""
    monkeypatch.setattr(multiple_comparisons, "LIKELY", multiple_comparisons.LEVEL)


def binomial_limit(turns: int, rate: float = 0.05) -> int:
    """So many that a true rate of 5 % exceeds it once in 10,000 times."""
    return int(stats.binom.isf(1e-4, turns, rate))


@pytest.mark.usefixtures("decisions")
@pytest.mark.parametrize(
    ("settings", "seeds", "tied", "noisy", "turns"),
    [
        (2, 2, 2, 1, 1000), (2, 3, 2, 0, 1000), (2, 3, 2, 1, 1000), (2, 5, 2, 1, 1000),
        (6, 3, 2, 0, 60), (6, 3, 2, 2, 60), (6, 5, 6, 3, 60),
    ],
)  # fmt: skip
def test_no_winner_is_called_where_settings_tie(settings: int, seeds: int, tied: int, noisy: int, turns: int) -> None:
    generator, place = GENERATOR(11), np.arange(settings)
    mean, sd = np.where(place < tied, 0.0, -200.0), np.where(place < noisy, 5.0, 1.0)
    winners, lost, covered = 0, 0, 0
    for _ in range(turns):
        values = mean[:, None] + sd[:, None] * generator.standard_normal((settings, seeds))
        order = values.mean(axis=1).argsort()[::-1]
        worse = np.zeros(settings, bool)
        worse[order[1:]] = compare_independent([*values[order]]) <= 0.05
        winners += worse.sum() == settings - 1
        lost += worse[0]
        half = half_widths(values.var(axis=1, ddof=1), np.full(settings, seeds - 1), np.full(settings, 1 / seeds))
        covered += (np.abs(values.mean(axis=1) - mean) <= half).all()
    assert winners <= binomial_limit(turns)
    assert lost <= binomial_limit(turns)
    assert turns - covered <= binomial_limit(turns)


def test_pooling_the_spreads_would_call_false_winners() -> None:
    """This comparison calls none in the same case: of six settings two tie, which are noisy, and have three seeds."""
    generator, turns, pooled = GENERATOR(2), 60, 0
    sd = np.array([5.0, 5.0, 1, 1, 1, 1])
    mean = np.array([0.0, 0, -200, -200, -200, -200])
    for _ in range(turns):
        values = mean[:, None] + sd[:, None] * generator.standard_normal((6, 3))
        values = values[values.mean(axis=1).argsort()[::-1]]
        apart = values[0].mean() - values[1].mean()
        pooled += apart > stats.t.isf(0.025, 12) * np.sqrt(values.var(axis=1, ddof=1).mean() * 2 / 3)
    assert pooled > binomial_limit(turns)


@pytest.mark.usefixtures("decisions")
def test_a_difference_of_ten_standard_deviations_is_seen_with_three_seeds() -> None:
    generator, seen = GENERATOR(8), 0
    for _ in range(30):
        values = generator.standard_normal((6, 3)) + np.array([10, 0, 0, 0, 0, 0])[:, None]
        seen += (compare_independent([values[0], *values[1:]]) <= 0.05).all()
    assert seen >= 25


def test_the_published_results_of_depth_vs_width_tell_more_than_the_two_worst() -> None:
    """Means and spreads of three seeds, as in the header of experiments/depth_vs_width.yaml."""
    published = [
        (0.890, 0.002), (0.887, 0.004), (0.885, 0.001), (0.884, 0.002), (0.879, 0.003),
        (0.877, 0.005), (0.875, 0.004), (0.871, 0.005), (0.867, 0.004), (0.860, 0.003),
    ]  # fmt: skip
    shape = np.array([-1.0, 0.13, 0.87])  # of no step that would count as rounding
    p = compare_independent([mean + spread * shape / shape.std(ddof=1) for mean, spread in published])
    assert (p <= multiple_comparisons.LEVEL).tolist() == [False] * 3 + [True] * 6
    assert p[5] < 0.01  # 0.875 +- 0.004, which was at 0.054 before the winner step


def test_the_winner_step_tells_all_that_are_left_or_none() -> None:
    shape, levels = np.array([-1.0, 0.13, 0.87]), multiple_comparisons.Levels
    settings = [mean + shape for mean in (3.0, 0.4, 0.2, 0.0, -0.2, -0.4)]
    without, with_step = (compare_independent(settings, levels(0.05, winner)) for winner in (0.0, 0.03))
    assert without.max() > 0.05
    assert with_step.max() <= 0.05
    far_fewer = compare_independent(settings, levels(0.05, 0.001))
    assert far_fewer.tolist() == without.tolist()


def test_more_settings_than_sixteen_make_the_winner_step_stricter() -> None:
    assert [round(multiple_comparisons.fixed(count).winner, 4) for count in (2, 16, 32, 54)] == [
        0.03,
        0.03,
        0.015,
        0.0089,
    ]

"""The learning curves of a run as a picture."""

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convgrid.runs.files import replacing
from convgrid.runs.trial import CURVES, read_epochs, read_whole_record

# By name of the metric; colours which the colour-blind tell apart, and a style besides.
LOSS_LINES = {"train/loss": ("#0072b2", "--"), "val/loss": ("#d55e00", "-")}
OBJECTIVE_LINE, BEST_LINE = ("#d55e00", "-"), ("#777777", ":")


class Curves(Figure):
    """A figure that a notebook shows, whether or not pyplot is imported there."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        FigureCanvasAgg(self).print_png(drawn)
        return drawn.getvalue()


def draw_curves(folder: Path) -> None:
    """Draw the learning curves of a trial into its `learning_curves.png`."""
    with replacing(folder / CURVES) as partial:
        FigureCanvasAgg(curves_of(folder)).print_png(partial)


def curves_of(folder: Path) -> Curves:
    """Draw the losses, and what is best, by epoch.

    Args:
        folder: The trial's, with an epoch at least.
    """
    epochs, record = read_epochs(folder), read_whole_record(folder)
    objective = record.get("objective", ["val/loss"])[0]
    panels = {"loss": LOSS_LINES, **({objective: {objective: OBJECTIVE_LINE}} if objective not in LOSS_LINES else {})}
    figure = Curves(figsize=(4.5 * len(panels), 3.2), dpi=110, layout="constrained")
    steps = [epoch["epoch"] for epoch in epochs]
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (colour, style) in lines.items():
            values = [epoch["metrics"].get(name, float("nan")) for epoch in epochs]
            axes.plot(steps, values, style, color=colour, label=name, marker=".")
        axes.axvline(record["best_epoch"], color=BEST_LINE[0], linestyle=BEST_LINE[1], linewidth=1, label="best epoch")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure

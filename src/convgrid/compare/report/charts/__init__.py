"""The report's charts: each function takes the trials and the answer, and returns panels that a phone has room for."""

from convgrid.compare.report.charts.curves import learning_curves
from convgrid.compare.report.charts.effects import main_effects
from convgrid.compare.report.charts.importance import importance_bars
from convgrid.compare.report.charts.interactions import interaction_maps
from convgrid.compare.report.charts.parallel import parallel_coordinates
from convgrid.compare.report.charts.pareto import pareto_fronts
from convgrid.compare.report.charts.ranking import ranked_intervals

__all__ = [
    "importance_bars",
    "interaction_maps",
    "learning_curves",
    "main_effects",
    "parallel_coordinates",
    "pareto_fronts",
    "ranked_intervals",
]

"""Trials are compared: which setting is best, by how much, whether that is more than chance, and what it costs."""

from convgrid.compare.load import load
from convgrid.compare.results import Answer, Interaction, Level, Setting, Tested
from convgrid.compare.statistics import answer
from convgrid.compare.trials import Trials

__all__ = ["Answer", "Interaction", "Level", "Setting", "Tested", "Trials", "answer", "load"]

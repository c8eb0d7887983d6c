"""Trials are compared: which setting is best, by how much, whether that is more than chance, and what it costs."""

from convgrid.compare.analysis import answer
from convgrid.compare.results import Answer, Interaction, Level, Setting, Tested
from convgrid.compare.sources import load
from convgrid.compare.trials import Trials

__all__ = ["Answer", "Interaction", "Level", "Setting", "Tested", "Trials", "answer", "load"]

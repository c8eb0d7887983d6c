"""An expanded pattern and an input's shape make a plan: every layer's shape and cost, without torch."""

from convgrid.plan.network import Architecture, Plan, plan
from convgrid.plan.planned import Groups, PlannedLayer

__all__ = ["Architecture", "Groups", "Plan", "PlannedLayer", "plan"]

"""Declarative experiment pipelines for ConvNets."""

__version__ = "0.1.0"

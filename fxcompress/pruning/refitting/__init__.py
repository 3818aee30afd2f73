"""Fitting what is left to what the graph gave before, layer by layer."""

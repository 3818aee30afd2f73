"""Slots that are multiples of each other, and the weights that take over."""

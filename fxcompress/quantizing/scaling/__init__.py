"""Scales of channels that one layer takes off and the layers behind it put on again: the graph computes what it did."""

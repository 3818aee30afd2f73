"""Quantization of a graph: which scheme a weight gets, its integers, and the nodes that stand for them."""

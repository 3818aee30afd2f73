"""Structured pruning: which slots go, and the graph without them."""

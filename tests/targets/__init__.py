"""Tests of the artifact: what is saved comes back, and what is no artifact does no harm."""

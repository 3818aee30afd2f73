"""The students of the distillation benchmark, and what they are taught with."""

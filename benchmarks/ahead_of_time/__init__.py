"""Compiling Triton kernels for GPUs that are not there, and reading what came out."""

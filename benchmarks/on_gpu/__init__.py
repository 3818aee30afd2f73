"""Kernels on a GPU: how long they take, the least that they could take, and how long those of others do."""

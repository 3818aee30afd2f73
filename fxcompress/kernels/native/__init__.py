"""Kernels of our own for the CPU, in C++: compiled when they are first asked for, by the compiler of the machine."""

"""What the benchmarks of quantization share: trained networks, real data to calibrate on and to evaluate with."""

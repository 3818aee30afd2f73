"""What the benchmark of CPU latency is made of: models, contenders, runtimes, timing, rows and tables."""

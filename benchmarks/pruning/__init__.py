"""What the pruning benchmarks share: trained networks and their data, the peer's side, counting, training, tables."""

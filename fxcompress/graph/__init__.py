"""What every other folder knows of FX graphs: the module that runs one, verbs on nodes, types, digests."""

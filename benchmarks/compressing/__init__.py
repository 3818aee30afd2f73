"""Small files of well-known networks: their data, the networks, the pipelines, and the plot."""

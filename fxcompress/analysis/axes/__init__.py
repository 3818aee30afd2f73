"""What the axes of all tensors of a graph are made of, and what can be removed from them."""

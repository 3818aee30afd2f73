"""Facts read off a graph, and measurements of running modules; nothing here changes what it is given."""

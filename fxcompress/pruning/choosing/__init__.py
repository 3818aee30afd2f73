"""Which slots go: groups, how much each slot matters, and how many are removed."""

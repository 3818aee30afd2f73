"""Channels that masks have made useless: finding them, and the constants that some of them still give."""

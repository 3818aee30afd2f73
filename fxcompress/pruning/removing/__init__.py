"""The graph without the slots, the plan of what stays, and the proof."""

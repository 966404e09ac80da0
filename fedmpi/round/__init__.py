"""The rounds of a run: their clients and placement, the visit of each client, and the loop."""

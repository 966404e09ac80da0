"""The simulation: who joins, where they run, the round loop, and what is kept."""

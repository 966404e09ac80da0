"""One round: who joins, where they run, the visit of each client, the loop over the rounds."""

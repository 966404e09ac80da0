"""Job scripts, submission and sweeps."""

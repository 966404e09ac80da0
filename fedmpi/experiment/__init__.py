"""The life of a run: read and check, assemble, start, watch, stop, save and resume."""

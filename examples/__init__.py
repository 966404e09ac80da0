"""Users' code that works: what `fedmpi new` writes, each file with an experiment of its own."""

"""An HTML page about several runs: figures, tables, and how to reproduce the results."""

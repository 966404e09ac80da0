"""One page of HTML about several runs: figures, tables, and how to get them again."""

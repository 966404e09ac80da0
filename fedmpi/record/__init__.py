"""The result file: its table of columns, the writer on rank 0, and the reader."""

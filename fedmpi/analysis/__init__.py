"""Analyse result files: tables, comparisons and curves. No module here prints or trains."""

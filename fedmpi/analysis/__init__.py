"""What a result file tells: tables, comparisons and curves. Nothing here prints or trains."""

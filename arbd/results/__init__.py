"""What iterations gave: rows in segments, which row wins, compacted results, tables."""

"""Processes that evaluate iterations, one at a time each."""

"""Strict YAML: the one door by which files written by people enter arbd."""

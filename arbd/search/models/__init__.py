"""Models that samplers learn with."""

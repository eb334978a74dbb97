"""A deterministic simulation: many virtual daemons on a filesystem in memory, driven by one seed."""

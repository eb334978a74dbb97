"""Real surroundings for tests: filesystems that are shared, small, or broken on command."""

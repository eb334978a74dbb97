"""Standing jobs: those that make a session again and again, at a time or when their data changed."""

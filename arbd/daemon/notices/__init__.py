"""Who is told of sessions that end, and how: settings, a log for each target, and the ways to tell."""

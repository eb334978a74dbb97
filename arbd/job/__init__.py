"""What a user writes and what becomes of it: job file, resolved job, limits, policy, digests, and its record on disk."""

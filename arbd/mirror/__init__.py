"""The Redis mirror: results of the spool as hashes in Redis, for dashboards and bots. The files stay the truth."""

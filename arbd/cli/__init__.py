"""The command `arbctl`: submits jobs, shows what becomes of them, looks after the spool."""

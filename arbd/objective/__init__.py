"""What an iteration evaluates: the paper engine, a Python function, a command."""

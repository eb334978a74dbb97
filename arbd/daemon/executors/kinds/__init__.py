"""The kinds of executors that arbd has itself, one module each."""

"""The compiled engine, which equals the reference to the bit."""

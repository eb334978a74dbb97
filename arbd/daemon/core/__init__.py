"""What a daemon decides: which session, which chunk, when. Touches no slot process itself."""

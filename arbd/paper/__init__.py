"""The paper engine: market data, a two-venue strategy over it, and what came of it."""

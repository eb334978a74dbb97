"""A search method that learns, one that does not, and a market data format, for arbd."""

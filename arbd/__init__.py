"""arbd tunes arbitrage strategies on many machines with nothing but a shared folder between them."""

__version__ = "0.1.0"

"""The engine as it is defined: written to be read, quote by quote."""

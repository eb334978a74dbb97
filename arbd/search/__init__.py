"""Which parameters an iteration gets: space, plan, generations, samplers and their models. Knows no files."""

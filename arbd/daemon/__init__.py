"""The worker: claims iterations from a spool, evaluates them in its slots, records what comes of them."""

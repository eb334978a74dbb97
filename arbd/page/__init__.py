"""The live page over a spool: what `arbctl serve` shows in a browser.

`watch` follows the spool, `kept` keeps what is costly to make, `sessions` and `runs` make it, `access` says who may ask,
`routes` answers, `server` speaks HTTP, `static` is what the browser gets. Charts are those of `arbd.analysis.charts`.
"""

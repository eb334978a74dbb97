"""arbd from Python and from notebooks: jobs, searches that run here or on a farm, their results, ask and tell.

Everything is offered by `arbd` itself: `arbd.Job`, `arbd.tune`, `arbd.submit`, `arbd.Session`, `arbd.Study`.
"""

import arbd

study = arbd.Study(
    search_space={"rate": {"type": "float", "bounds": [0.01, 1], "log": True}},
    method="sobol", metric="loss", direction="minimize", seed=1, prune={"rule": "median"},
)  # fmt: skip
for _ in range(40):
    trial = study.ask()
    try:
        loss = 1.0
        for step in range(1, 21):
            loss *= 1 - trial.params["rate"] * (1 - trial.params["rate"])
            trial.report(step, loss)
        study.tell(trial, loss)
    except arbd.TrialPruned:
        study.tell(trial, None)
print(sum(bool(told.pruned) for told in study.trials), "of", len(study.trials), "pruned; best", study.best.params)
print(next(told.pruned for told in study.trials if told.pruned))

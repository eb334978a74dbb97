import arbd

study = arbd.Study(
    search_space={"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "int", "bounds": [1, 100], "log": True}},
    method="bayesian", metric="loss", direction="minimize", seed=1,
)  # fmt: skip
for _ in range(10):
    for trial in study.ask(3):
        study.tell(trial, (trial.params["x"] - 0.3) ** 2 + abs(trial.params["k"] - 40) / 100)
print(len(study.trials), study.best.params["k"], round(study.best.params["x"], 1))

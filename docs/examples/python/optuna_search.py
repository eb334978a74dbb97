import optuna


def loss(trial):
    x = trial.suggest_float("x", 0, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (x - 0.3) ** 2 + (0 if kind == "b" else 1)


if __name__ == "__main__":
    study = optuna.create_study(
        study_name="compared", storage="sqlite:///optuna.db", load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=1), direction="minimize",
    )  # fmt: skip
    left = 60 - len([t for t in study.trials if t.state.is_finished()])
    study.optimize(loss, n_trials=left)
    print(study.best_params["kind"], round(study.best_params["x"], 1))
    print(study.trials_dataframe()[["number", "params_x", "params_kind", "value"]].tail(3).shape)

# objective
import optuna


def loss(trial):
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_float("y", 0.01, 10, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (x - 0.3) ** 2 + y / 100 + (kind == "a")


# search; the same lines go on after a kill
study = optuna.create_study(
    study_name="side-by-side", storage="sqlite:///optuna.db", load_if_exists=True,
    sampler=optuna.samplers.TPESampler(seed=1), direction="minimize",
)  # fmt: skip
done = [trial for trial in study.trials if trial.state.is_finished()]
study.optimize(loss, n_trials=200 - len(done))

# best
print(study.best_params["kind"], round(study.best_params["x"], 1))

# history, importance, contour
importance = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
history = optuna.visualization.plot_optimization_history(study)
contour = optuna.visualization.plot_contour(study)

# table
print(len(study.trials_dataframe()))

# objective
import arbd


def loss(params):
    return {"loss": (params["x"] - 0.3) ** 2 + params["y"] / 100 + (params["kind"] == "a")}


# search; the same call goes on after a kill
space = {
    "x": {"type": "float", "bounds": [0, 1]},
    "y": {"type": "float", "bounds": [0.01, 10], "log": True},
    "kind": {"type": "choice", "values": ["a", "b"]},
}
session = arbd.tune(
    objective=loss, search_space=space, method="tpe", max_iterations=200, metric="loss", direction="minimize",
    seed=1, session_id="side-by-side",
)  # fmt: skip

# best
print(session.best.params["kind"], round(session.best.params["x"], 1))

# history, importance, contour
charts = session.plot.history(), session.plot.importance(), session.plot.contour()

# table
print(len(session.results.to_pandas()))

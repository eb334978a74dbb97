import arbd


def loss(params):
    return {"loss": (params["x"] - 0.3) ** 2 + (0 if params["kind"] == "b" else 1)}


if __name__ == "__main__":
    space = {"x": {"type": "float", "bounds": [0, 1]}, "kind": {"type": "choice", "values": ["a", "b"]}}
    session = arbd.tune(
        objective=loss, search_space=space, method="tpe", max_iterations=60,
        metric="loss", direction="minimize", seed=1, session_id="compared",
    )  # fmt: skip
    print(session.best.params["kind"], round(session.best.params["x"], 1))
    print(session.results.to_pandas()[["iteration", "x", "kind", "loss"]].tail(3).shape)

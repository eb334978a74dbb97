#!/usr/bin/env python3
"""A program that is kept: one line of JSON in, one line of JSON out. What it prepares at its start is prepared once."""

import json
import math
import sys
import time

time.sleep(0.2)  # what a real one does here: it loads libraries and quotes

for line in sys.stdin:
    question = json.loads(line)
    x = question["params"]["x"]
    metrics = {"value": math.sin(5 * x) * (1 - x)}
    print(json.dumps({"id": question["id"], "metrics": metrics}), flush=True)

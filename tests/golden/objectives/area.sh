#!/bin/sh
# A command as objective: reads {"a": ..., "b": ...} and prints their product and sum; whole numbers, so exact.
exec awk -F'[:,}]' '{ printf "{\"value\": %d, \"sum\": %d}\n", $2 * $4, $2 + $4 }'

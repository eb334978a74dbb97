#!/bin/sh
# A command objective: reads {"radius": ...} and prints {"area": ...}.
exec awk -F'[:,}]' '{ radius = $2; printf "{\"area\": %.12g}\n", 3.14159265358979 * radius * radius }'

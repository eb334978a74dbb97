"""What runs beside the coordinator: live tables, mirror, metrics, suggestions, intake."""

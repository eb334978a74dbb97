"""A daemon on its host: settings, logs, service manager, unit, file watching."""

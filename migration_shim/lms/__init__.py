"""The platform's own tables, as far as they are read here: the one place that names them by the platform's names."""

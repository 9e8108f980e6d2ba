"""Offline scoring: a model over the rows of files, with the service's own runtime and without its HTTP."""

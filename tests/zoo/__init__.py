"""A zoo of models that nobody wrote for this importer, compared with PyTorch one by one.

``python -m tests.zoo`` runs it and prints a table; docs/importer-coverage.md is that table.
Models come from packages with small random configurations, or are composed of ``torch.nn``.
"""

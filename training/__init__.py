"""Drawn scenes, and a small SAM 3 that is trained on them.

Not part of the installed package: it runs from a clone of the repository, as
``python -m training``.
"""

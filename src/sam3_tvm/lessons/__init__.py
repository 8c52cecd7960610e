"""The lessons of the way from PyTorch to Relax, as a table that can be run.

A tool about TVM's importer, which ours is measured beside; nothing of the importer needs it.
"""

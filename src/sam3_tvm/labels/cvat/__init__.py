"""CVAT: the run lengths of its masks, and functions for cvat-cli.

:mod:`sam3_tvm.labels.cvat.detect` annotates by phrases, :mod:`sam3_tvm.labels.cvat.interact` by
clicks. Both need the extra ``[cvat]``.
"""

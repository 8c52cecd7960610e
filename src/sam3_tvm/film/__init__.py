"""Follows objects through a film, writes what is found, and goes on after an interruption.

A library for a command, a server, a notebook or a job: it prints nothing and asks for nothing.
:class:`~sam3_tvm.film.run.Run` passes a :class:`~sam3_tvm.film.passage.Passage` of a film and
hands each frame to outputs (:func:`~sam3_tvm.film.outputs.opening.open_outputs`); what it needs
to go on lies in a :class:`~sam3_tvm.film.checkpoint.WorkFolder`.
"""

"""A server for pictures and films over HTTP, on one model. Needs the extra ``[serve]``."""

from __future__ import annotations

from sam3_tvm.serve.app import create_app
from sam3_tvm.serve.gate import Access
from sam3_tvm.serve.limits import Limits

__all__ = ["Access", "Limits", "create_app"]

"""What every trial needs, imported once; trials are forked from the process that has it."""

from __future__ import annotations

import torch
import torch._dynamo
import torch._functorch.aot_autograd
import torch.export
import transformers
import tvm.relax.frontend.torch

import sam3_tvm.importer
from tests.zoo.families import entries

__all__ = ["entries", "sam3_tvm", "torch", "transformers", "tvm"]

entries()

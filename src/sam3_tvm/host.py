"""Which processor this is, in words: what reports print, and what tuned tiles are kept under."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["cpu_model", "cpu_name"]

# What tells models of one name apart, on x86 and on Arm: a virtual machine's processor is often
# called no more than "AMD EPYC".
_MODEL = ("cpu family", "model", "CPU implementer", "CPU part")


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_model() -> str:
    """The processor's name with the numbers of its model, the same on all of its kind."""
    info = _cpuinfo()
    numbers = [f"{key} {info[key]}" for key in _MODEL if key in info]
    return ", ".join([cpu_name(), *numbers])


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}

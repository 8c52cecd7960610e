"""A command that is told to end while native code is at work."""

import os
import signal
import subprocess
import sys

import pytest

# Deriving a key is a call of native code that looks at no signal, for many minutes.
COMMAND = """
import hashlib, pathlib, sys, threading
from sam3_tvm.cli.ending import end_in_native_code, end_on_signals
from sam3_tvm.files import write_whole
from sam3_tvm.unfinished import unfinished_folder

def save(path):
    path.write_text("half")
    # By another thread, when this one is there.
    threading.Timer(1.0, print, ("at work",), {"flush": True}).start()
    hashlib.pbkdf2_hmac("sha512", b"", b"", (1 << 31) - 1)

end_on_signals()
end_in_native_code()
place = pathlib.Path(sys.argv[1])
with unfinished_folder(place / "folder") as folder:
    (folder / "part").write_text("half")
    write_whole(place / "file", save)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGTERM, "ended by a signal"), (signal.SIGINT, "interrupted")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_native_code_is_ended_and_what_is_half_written_goes(tmp_path, number, says):
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "at work\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert complaint == f"{says}\n"
    assert not list(tmp_path.iterdir())

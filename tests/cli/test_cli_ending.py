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


# The same, of a command that is to finish what is at hand; the call ends by itself if it is short.
PATIENT = """
import hashlib, pathlib, sys, threading, time
from sam3_tvm.cli.ending import end_in_native_code, end_on_signals
from sam3_tvm.cli.interrupts import Interrupts
from sam3_tvm.files import write_whole

def save(path):
    path.write_text("half")
    threading.Timer(0.5, print, ("at work",), {"flush": True}).start()
    hashlib.pbkdf2_hmac("sha512", b"", b"", int(sys.argv[2]))

end_on_signals()
end_in_native_code()
with Interrupts("this picture") as interrupted:
    write_whole(pathlib.Path(sys.argv[1]) / "file", save)
assert interrupted()
time.sleep(3)
print("whole")
"""

ENDLESS = (1 << 31) - 1


def patient(folder, turns: int) -> subprocess.Popen:
    command = [sys.executable, "-c", PATIENT, str(folder), str(turns)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("second", "says"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by a signal")]
)
def test_the_first_signal_never_ends_native_code_and_the_second_does(tmp_path, second, says):
    with patient(tmp_path, ENDLESS) as process:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(second)
        output, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + second
    assert (output, complaint) == ("", f"{says}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_is_at_hand_is_finished_after_one_signal(tmp_path):
    # The handler before is back when the thread's patience with that signal would be at its end.
    with patient(tmp_path, 2_000_000) as process:
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "whole\n"
    assert complaint == "stopping after this picture; Ctrl-C again to stop at once\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

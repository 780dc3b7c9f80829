"""The parent of the processes. What it does for a whole server: tests/stories/test_workers.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.rigs.processes import children
from tests.rigs.server import wait_until

PARENT = """
import os, signal, sys
from regadmin.supervisor import Supervisor, Task
from tests.rigs.processes import inheriting_orphans

def work():
    os.system(f"sleep 60 & echo $! > {sys.argv[1]}")
    signal.pause()

with inheriting_orphans():
    Supervisor([Task("worker", work)]).run(lambda: None, lambda: None)
"""


def test_process_1_of_a_container_leaves_no_orphans_as_zombies_and_no_task_alone(tmp_path):
    orphans = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, orphans], cwd=Path(__file__).parents[1])
    try:
        for _ in range(2):
            wait_until(lambda: orphans.exists() and orphans.read_text())
            orphan = int(orphans.read_text())
            wait_until(lambda orphan=orphan: orphan in children(parent.pid))
            os.kill(orphan, signal.SIGKILL)
            wait_until(lambda orphan=orphan: orphan not in children(parent.pid))
            (worker,) = children(parent.pid)
            orphans.unlink()
            os.kill(worker, signal.SIGKILL)
        parent.terminate()
        assert parent.wait(10) == 0
    finally:
        parent.kill()
        parent.wait()

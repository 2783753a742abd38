# SPDX-License-Identifier: BSL-1.0
"""Starts Python programs for a test: real processes like those of `python -m MODULE` and `python SCRIPT`, but forked
from this one, which has imported Dask already. Importing it is nearly all that a scheduler or worker costs to start.

    python python_server.py       stdin: a SOCK_SEQPACKET socket

A request is a JSON list of words, the module or script and its arguments, with the three files that are to be stdin,
stdout and stderr. The answer comes from the new process, and is its number. Its parent is the process that has started
this one, which must be a "subreaper"; it is killed when that one ends. Dask's settings are those of this process.
JOBLOT_TEST_DASK_IMPORTS names more modules that the programs will import.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time

import distributed.cli.dask_scheduler
import distributed.cli.dask_worker
import distributed.versions

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


def fork(parent):
    """Forks a child of `parent`, which is killed with that one and leads a group. @return Whether this is the child."""
    between = os.fork()
    if between != 0:
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    if os.fork() != 0:
        os._exit(0)
    os.setpgid(0, 0)
    while os.getppid() == between:
        time.sleep(0.0005)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which is gone
        os._exit(1)
    return True


def run(words):
    """What Python does with such a command line."""
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], os.getcwd()
        ctypes.CDLL(None).prctl(PR_SET_NAME, words[1].rpartition(".")[2].encode())  # for ps
        sys.modules.pop(words[1], None)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(words[0])
        runpy.run_path(words[0], run_name="__main__")


def main():
    control, parent = socket.socket(fileno=0), os.getppid()
    for module in os.environ.get("JOBLOT_TEST_DASK_IMPORTS", "").split():
        importlib.import_module(module)
    distributed.versions.get_versions()  # all ask for them; in 2022 that imports pandas, for 0.5 s
    gc.freeze()  # what is there stays shared with the children
    while True:
        words, files, _, _ = socket.recv_fds(control, 1 << 16, 3)
        if not words:
            return
        if fork(parent):
            control.send(b"%d" % os.getpid())
            control.detach()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return run(json.loads(words))
        for file in files:
            os.close(file)


if __name__ == "__main__":
    main()

"""long_sweep: Ctrl-C at a terminal, SIGTERM and a deadline leave what is done; a second Ctrl-C ends the program."""

import math
import os
import pty
import signal
import subprocess
import time

from harness import TIME_LIMIT, check, check_equal, clean_environment, program, run, test_each

FOREVER = ("--points", "400", "--steps", "4000000000")


def points(text):
    return [tuple(map(float, line.split())) for line in text.splitlines()]


@test_each((), ("--n-jobs", "1"), ("--backend", "processes"), ("--backend", "sequential"))
def whole_sweep(arguments):
    """all points, and the exponents that are known"""
    found = points(run("long_sweep", "--points", "4", "--steps", "200000", *arguments).stdout.decode())
    check_equal([r for r, _ in found], [2.5, 3.0, 3.5, 4.0], "parameters")
    check_equal(round(found[0][1], 3), round(math.log(0.5), 3), "exponent of 2.5: the fixed point's slope is 1/2")
    check(abs(found[3][1] - math.log(2)) < 0.02, f"exponent of 4: {found[3][1]}, not log 2")


@test_each("threads", "processes")
def at_its_deadline(backend):
    """a deadline leaves a sweep unfinished, and that is no error of a task"""
    done = run("long_sweep", *FOREVER, "--deadline", "1", "--backend", backend, expect=1)
    check_equal(done.stderr.decode(), "long_sweep: ended at its deadline, 0 of 400 points are done\n", "stderr")


class Terminal:
    """The program in the foreground of a terminal of its own, its output in a pipe."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        os.set_inheritable(slave, True)

        def own_terminal():
            import fcntl
            import termios
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([program("long_sweep"), *arguments], stdin=slave, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=own_terminal, env=clean_environment())
        os.close(slave)

    def handles_interrupts(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGINT - 1) & 1)

    def wait_until(self, condition):
        end = time.monotonic() + TIME_LIMIT
        while not condition():
            check(time.monotonic() < end and self.process.poll() is None, "the program is over, or hangs")
            time.sleep(0.01)

    def press_ctrl_c(self):
        os.write(self.master, b"\x03")

    def end(self):
        out, err = self.process.communicate(timeout=TIME_LIMIT)
        os.close(self.master)
        return self.process.returncode, out.decode(), err.decode()


@test_each("threads", "processes")
def ctrl_c(backend):
    """Ctrl-C at a terminal ends the sweep"""
    terminal = Terminal(*FOREVER, "--backend", backend)
    terminal.wait_until(terminal.handles_interrupts)
    time.sleep(0.2)
    terminal.press_ctrl_c()
    status, out, err = terminal.end()
    check_equal(status, 1, "exit status")
    check_equal(out, "", "output")
    check_equal(err, "long_sweep: ended by a signal, 0 of 400 points are done\n", "stderr")


@test_each("threads", "processes")
def results_are_kept(backend):
    """what is done is printed after SIGTERM"""
    terminal = Terminal("--points", "100000", "--steps", "200000", "--backend", backend)
    terminal.wait_until(terminal.handles_interrupts)
    time.sleep(1)
    terminal.process.send_signal(signal.SIGTERM)
    status, out, err = terminal.end()
    check_equal(status, 1, "exit status")
    found = points(out)
    check(0 < len(found) < 100000, f"{len(found)} points")
    check_equal(err, f"long_sweep: ended by a signal, {len(found)} of 100000 points are done\n", "stderr")
    check_equal(found[0][0], 2.5, "the first parameter")

"""checksum_tree against the system's cksum, on trees made to be difficult."""

import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

from harness import (TIME_LIMIT, Failed, Skipped, check, check_equal, clean_environment, is_sanitized, need_tool,
                     program, run, test, test_each)

NOBODY = 65534


@contextlib.contextmanager
def folder(parent=None):
    """A new folder that every user may enter, removed afterwards."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="joblot-examples-", dir=parent))
    path.chmod(0o755)
    try:
        yield path
    finally:
        for entry, _, _ in os.walk(path):
            os.chmod(entry, 0o755)
        shutil.rmtree(path)


def regular_files(root):
    """The paths below `root`, as bytes, sorted by their bytes; symbolic links are not followed."""
    found = []
    for where, _, names in os.walk(os.fsencode(root)):
        paths = (os.path.join(where, name) for name in names)
        found += [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
    return sorted(found)


def cksum(paths):
    """What the system's cksum prints for the files."""
    need_tool("cksum")
    output = b""
    for begin in range(0, len(paths), 500):
        some = paths[begin:begin + 500]  # a command line has its limits
        output += subprocess.run([b"cksum", b"--", *some], stdout=subprocess.PIPE, check=True).stdout
    return output


def write(root, name, content=b""):
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def make_nasty_tree(root):
    data = random.Random(1)
    write(root, b"empty")
    write(root, b"five MB", data.randbytes(5_000_000))
    for name in (b"-rf", b"--help", b" leading", b"trailing ", b"new\nline", b"tab\t\\back\"quote'", b"*?[a]$HOME",
                 "größe-日本語-🎲".encode(), b"not-utf8-\xff\xfe", b"%s%n", b"n" * 255, b"a/b/c/d/e/deep", b"sub dir/x"):
        write(root, name, data.randbytes(data.randrange(1, 3000)))
    for size in (1, 7, 8, 9, 255, 256, 65535, 65536, 65537, 131071, 131072, 131073):
        write(root, b"sizes/%d" % size, data.randbytes(size))
    for byte in (0x00, 0xFF):
        write(root, b"constant/%02x" % byte, bytes([byte]) * 100_000)
    os.mkdir(root / "empty folder")
    os.mkfifo(root / "pipe")  # not regular: opening it would wait for ever
    os.symlink("five MB", root / "link to file")
    os.symlink("/etc", root / "link to folder")
    os.symlink(".", root / "link to itself")
    os.symlink("nowhere", root / "broken link")


@test_each(("--n-jobs", "1"), ("--n-jobs", "2"), ("--n-jobs", "7"), ("--backend", "sequential"),
           ("--backend", "processes"), ("--backend", "processes", "--n-jobs", "1"))
def nasty_tree(arguments):
    """odd names, sizes and kinds of files"""
    with folder() as root:
        make_nasty_tree(root)
        files = regular_files(root)
        check_equal(len(files), 29, "files made by this test")
        check_equal(run("checksum_tree", *arguments, root).stdout, cksum(files), "output")


@test
def relative_folder():
    """a relative folder whose name begins with a dash, after --"""
    with folder() as root:
        write(root, b"-dir/-file", b"content")
        done = subprocess.run([program("checksum_tree"), "--", "-dir"], cwd=root, capture_output=True,
                              timeout=TIME_LIMIT, env=clean_environment(), check=True)
        expected = subprocess.run(["cksum", "--", "-dir/-file"], cwd=root, capture_output=True, check=True)
        check_equal(done.stdout, expected.stdout, "output")


@test
def real_tree():
    """a real tree: part of /usr/share/doc, else /usr/include"""
    for root in ("/usr/share/doc", "/usr/include"):
        files = regular_files(root) if os.path.isdir(root) else []
        if len(files) < 50:
            continue
        if len(files) > 20_000:  # a part is enough
            root = max((os.path.join(root, d) for d in os.listdir(root)), key=lambda d: len(regular_files(d)))
            files = regular_files(root)
        done = run("checksum_tree", root)
        check_equal(done.stdout, cksum(files), "output")
        check(done.stderr, "no progress was shown")
        return
    raise Skipped("neither folder holds 50 files")


@test
def empty_tree():
    """an empty folder gives no lines"""
    with folder() as root:
        check_equal(run("checksum_tree", root).stdout, b"", "output")


@test
def not_a_folder():
    """a folder that is not there, or is a file, is an error"""
    with folder() as root:
        write(root, b"file")
        for name, reason in (("missing", b"No such file or directory"), ("file", b"Not a directory")):
            done = run("checksum_tree", root / name, expect=1)
            check(os.fsencode(root / name) + b": " + reason in done.stderr, f"stderr: {done.stderr.decode()}")


@test_each((), ("--backend", "processes"))
def unreadable(arguments):
    """what may not be read is reported, and the rest is unharmed"""
    with folder() as root:
        tree = root / "tree"
        for name in (b"first", b"locked", b"middle", b"private/inside", b"zlast"):
            write(tree, name, name * 100)
        (tree / "locked").chmod(0)
        (tree / "private").chmod(0)
        prefix, copy = (), None
        if os.geteuid() == 0:  # permissions mean nothing to root: run as nobody, from a place where nobody may go
            need_tool("setpriv")
            prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
            copy = root / "checksum_tree"
            shutil.copy(program("checksum_tree"), copy)
            copy.chmod(0o755)
        done = run("checksum_tree", *arguments, tree, expect=1, prefix=prefix, executable=copy)
        check_equal(done.stdout, cksum([os.fsencode(tree / n) for n in ("first", "middle", "zlast")]), "output")
        for name in ("locked", "private"):
            check(f"checksum_tree: {tree / name}: Permission denied\n".encode() in done.stderr,
                  f"{name} is not reported: {done.stderr.decode()}")


def readable(path):
    """None, or why the file cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.read(1)
        return None
    except OSError as problem:
        return problem.strerror


@test_each((), ("--backend", "processes"))
def read_error(arguments):
    """files that open but cannot be read are reported"""
    root = "/sys/devices/virtual/net/lo"  # the kernel refuses to read some files here, such as the speed of "lo"
    files = regular_files(root) if os.path.isdir(root) else []
    problems = {path: reason for path in files if (reason := readable(path))}
    if not problems:
        raise Skipped("no such files on this machine")
    done = run("checksum_tree", *arguments, root, expect=1)  # cksum 9.1 is no model: it takes them for empty files
    reported = sorted(line for line in done.stderr.splitlines() if line.startswith(b"checksum_tree: "))
    expected = sorted(b"checksum_tree: " + path + b": " + reason.encode() for path, reason in problems.items())
    check_equal(reported, expected, "failures")
    check_equal([line.split(b" ", 2)[2] for line in done.stdout.splitlines()],
                [path for path in files if path not in problems], "files read")


def wait_until_open(process, path):
    """Returns when the process has the file open. Fails when the process ends first."""
    descriptors = f"/proc/{process.pid}/fd"
    deadline = time.monotonic() + TIME_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        for descriptor in os.listdir(descriptors):
            with contextlib.suppress(OSError):
                if os.readlink(f"{descriptors}/{descriptor}") == str(path):
                    return
        time.sleep(0.0005)
    raise Failed(f"{path} was never seen open")


@test
def big_and_vanishing_file():
    """a file above 4 GiB, and one that vanishes while that is read"""
    need_tool("cksum")
    if not os.path.isdir("/proc/self/fd"):
        raise Skipped("there is no /proc")
    size = 2**26 + 5 if is_sanitized("checksum_tree") else 2**32 + 5
    # Reading the holes of a sparse file takes no memory on tmpfs; elsewhere it would fill the page cache.
    with folder("/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as root:
        big, doomed = root / "a-big", root / "z-doomed"
        write(root, b"a-big", b"start")
        os.truncate(big, size)  # sparse: takes no room on the disk
        write(root, b"z-doomed", b"never read")
        with subprocess.Popen([program("checksum_tree"), "--n-jobs", "1", root], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=clean_environment()) as process:
            wait_until_open(process, big)
            doomed.unlink()
            output, errors = process.communicate(timeout=TIME_LIMIT)
        check_equal(process.returncode, 1, "exit status")
        check(f"checksum_tree: {doomed}: No such file or directory\n".encode() in errors, f"stderr: {errors.decode()}")
        check_equal(output, cksum([os.fsencode(big)]), "output")

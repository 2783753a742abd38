"""streaming: the record prime gaps known from the literature (OEIS A005250, A002386), in bounded memory."""

import re

from harness import check, check_equal, is_sanitized, run, test, test_each

RECORDS = [
    (1, 2), (2, 3), (4, 7), (6, 23), (8, 89), (14, 113), (18, 523), (20, 887), (22, 1129), (34, 1327), (36, 9551),
    (44, 15683), (52, 19609), (72, 31397), (86, 155921), (96, 360653), (112, 370261), (114, 492113), (118, 1349533),
    (132, 1357201), (148, 2010733), (154, 4652353), (180, 17051707), (210, 20831323), (220, 47326693),
    (222, 122164747), (234, 189695659), (248, 191912783)]


def expected(count):
    return "".join(f"gap {gap} after {prime}\n" for gap, prime in RECORDS[:count]).encode()


def statistics(done):
    """Segments read, MB of primes, most segments ahead, and peak memory before and after, in MB."""
    match = re.fullmatch(r"(\d+) segments read, ([\d.]+) MB of primes, at most (\d+) segments ahead of the reader\n"
                         r"peak memory ([\d.]+) MB before, ([\d.]+) MB after\n", done.stderr.decode())
    check(match, f"stderr: {done.stderr.decode()}")
    return int(match[1]), float(match[2]), int(match[3]), float(match[4]), float(match[5])


@test_each((), ("--n-jobs", "1"), ("--n-jobs", "2"), ("--n-jobs", "5"), ("--backend", "sequential"),
           ("--ahead", "1"), ("--ahead", "100"), ("--backend", "processes"),
           ("--backend", "processes", "--n-jobs", "1", "--ahead", "1"), ("--backend", "processes", "--n-jobs", "5"))
def known_records(arguments):
    """the first 24 records, in order"""
    check_equal(run("streaming", "--count", "24", *arguments).stdout, expected(24), "output")


@test_each("threads", "processes")
def first_record(backend):
    """an endless stream left after its first result"""
    done = run("streaming", "--count", "1", "--backend", backend)
    check_equal(done.stdout, expected(1), "output")
    check_equal(statistics(done)[0], 1, "segments read")


@test_each(("--n-jobs", "1"), ("--n-jobs", "2"), ("--n-jobs", "5"), ("--backend", "processes", "--n-jobs", "2"))
def bounded(arguments):
    """no more tasks ahead of the reader than allowed"""
    for ahead in (1, 3, 8):
        most = statistics(run("streaming", "--count", "23", *arguments, "--ahead", str(ahead)))[2]
        check(most <= ahead, f"{most} segments ahead, {ahead} allowed")


@test_each("threads", "processes")
def bounded_memory(backend):
    """memory stays far below what passes through"""
    count = 24 if is_sanitized("streaming") else 28
    done = run("streaming", "--count", str(count), "--backend", backend)
    check_equal(done.stdout, expected(count), "output")
    segments, megabytes, _, before, after = statistics(done)
    check_equal(segments, RECORDS[count - 1][1] // 1_000_000 + 1, "segments read")
    if not is_sanitized("streaming"):
        check(after - before < megabytes / 3, f"{megabytes} MB passed through, memory grew from {before} to {after} MB")

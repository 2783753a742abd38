"""option_pricing: right, and the same to the last bit however it was computed."""

import math

from harness import check, check_equal, run, test, test_each

PATHS = ("--paths", "220001")  # no multiple of the batch size
SPOT, RATE, VOLATILITY, YEARS = 100, 0.03, 0.25, 1


def black_scholes(strike):
    def cdf(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    deviation = VOLATILITY * math.sqrt(YEARS)
    d1 = (math.log(SPOT / strike) + RATE * YEARS) / deviation + deviation / 2
    return SPOT * cdf(d1) - strike * math.exp(-RATE * YEARS) * cdf(d1 - deviation)


def table(output):
    """The rows of numbers that the program printed, and the digest."""
    lines = output.decode().splitlines()
    name, digest = lines[-1].split(": ")
    check_equal(name, "digest of all sums", "last line")
    return [[float(word) for word in line.split()] for line in lines[1:-1]], digest


@test_each("42", "1", "18446744073709551615")
def right(seed):
    """estimates agree with Black-Scholes, computed here"""
    rows, _ = table(run("option_pricing", *PATHS, "--seed", seed).stdout)
    check_equal([row[0] for row in rows], [80, 90, 100, 110, 120, 140], "strikes")
    for strike, estimate, error, exact, difference in rows:
        check(abs(exact - black_scholes(strike)) < 1e-6, f"exact price for {strike}: {exact}")
        check(0.005 < error < 0.06, f"standard error for {strike}: {error}")
        check(abs(estimate - exact) <= 4 * error, f"estimate for {strike}: {estimate}, exact {exact}")
        check(abs(difference - (estimate - exact) / error) < 0.02, f"difference for {strike}: {difference}")


@test_each(("--backend", "sequential"),
           *(("--backend", name, "--n-jobs", n) for name in ("threads", "processes") for n in ("1", "2", "5")))
def same_bits(arguments):
    """the same bits as with all CPUs"""
    check_equal(run("option_pricing", *PATHS, *arguments).stdout, run("option_pricing", *PATHS).stdout, "output")


@test
def seeds_differ():
    """another seed gives other numbers"""
    outputs = {run("option_pricing", *PATHS, "--seed", seed).stdout for seed in ("1", "2", "3")}
    check_equal(len(outputs), 3, "different outputs")


@test
def error_shrinks():
    """sixteen times the paths, a quarter of the standard error"""
    few, many = (table(run("option_pricing", "--paths", n).stdout)[0] for n in ("50000", "800000"))
    for a, b in zip(few, many):
        check(3.5 < a[2] / b[2] < 4.5, f"standard errors {a[2]} and {b[2]} for {a[0]}")

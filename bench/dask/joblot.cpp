// SPDX-License-Identifier: BSL-1.0
// The cluster benchmarks with joblot: the calls as a user writes them. bench/run_dask.py runs it against peer.py, which
// has the same cases. Prints a line for each repetition: seconds, and the CPU seconds of the scheduler meanwhile.
#include "../processes/command_line.hpp"
#include "tls.hpp"

#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#include <joblot/joblot.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using bench::parameters;
namespace views = std::views;

double trivial(int i) { return i * 0.5; }

int sleeping(int i, std::size_t micros) {
    std::this_thread::sleep_for(std::chrono::microseconds(micros));
    return i;
}

int busy(int i, std::size_t micros) {
    const auto end = bench::steady::now() + std::chrono::microseconds(micros);
    while (bench::steady::now() < end) {
    }
    return i;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }
std::vector<double> make(std::size_t bytes) { return std::vector<double>(bytes / sizeof(double), 1.0); }

/// User and system time of a process, in seconds; 0 for no process.
double cpu_seconds(int process) {
    if (process == 0) return 0;
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    double user = 0, system = 0;
    const std::size_t end = text.rfind(')'); // of the name, which may hold anything
    if (end == std::string::npos ||
        std::sscanf(text.c_str() + end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf", &user, &system) !=
            2)
        throw std::runtime_error("no process " + std::to_string(process));
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

joblot::Parallel on_cluster(const parameters& p) {
    joblot::options o{.n_jobs = -1, .backend = joblot::dask::backend{.scheduler_host = p.scheduler}};
    if (p.batch) o.batch_size = p.batch;
    return joblot::Parallel(std::move(o));
}

/// What `body` returns must be true. A small call before it is no part of it: in that, the program is sent to the
/// workers and started there.
template <class Body>
void repeat(const parameters& p, Body body) {
    static_cast<void>(on_cluster(p)(views::iota(0, 20) | views::transform(joblot::delayed(trivial))));
    for (int rep = 0; rep < p.reps; ++rep) {
        const double before = cpu_seconds(p.watched);
        bool right = false;
        const double seconds = bench::time_of([&] { right = body(); });
        if (!right) throw std::runtime_error("wrong result");
        std::printf("%.9f %.9f\n", seconds, cpu_seconds(p.watched) - before);
        std::fflush(stdout);
    }
}

void numbers(const parameters& p, int (*f)(int, std::size_t)) {
    repeat(p, [&, n = static_cast<int>(p.tasks)] {
        const auto tasks = views::iota(0, n) | views::transform([&](int i) { return joblot::delayed(f)(i, p.micros); });
        return on_cluster(p)(tasks).back() == n - 1;
    });
}

void trivial_tasks(const parameters& p) {
    repeat(p, [&, n = static_cast<int>(p.tasks)] {
        return on_cluster(p)(views::iota(0, n) | views::transform(joblot::delayed(trivial))).back() == trivial(n - 1);
    });
}

/// One number of all tasks. What is added up has no rounding.
void reduced(const parameters& p) {
    repeat(p, [&, n = static_cast<int>(p.tasks)] {
        const double sum =
            on_cluster(p).reduce(views::iota(0, n) | views::transform(joblot::delayed(trivial)), 0.0, std::plus<>());
        return sum == 0.25 * n * (n - 1.0);
    });
}

/// The same tasks, whose results nobody wants.
void dropped(const parameters& p) {
    repeat(p, [&, n = static_cast<int>(p.tasks)] {
        on_cluster(p).for_each(views::iota(0, n) | views::transform(joblot::delayed(trivial)));
        return true;
    });
}

/// Every task has an array of its own as its argument. The arrays are made beforehand.
void argument(const parameters& p) {
    const std::vector<std::vector<double>> arrays(p.tasks, make(p.bytes));
    const auto expected = static_cast<double>(p.bytes / sizeof(double));
    repeat(p, [&] { return on_cluster(p).map(sum, arrays).back() == expected; });
}

void result(const parameters& p) {
    const auto tasks = views::iota(std::size_t{0}, p.tasks) |
                       views::transform([&](std::size_t) { return joblot::delayed(make)(p.bytes); });
    repeat(p, [&] { return on_cluster(p)(tasks).back().size() == p.bytes / sizeof(double); });
}

void run(const parameters& p) {
    if (p.kind == "trivial")
        trivial_tasks(p);
    else if (p.kind == "reduced")
        reduced(p);
    else if (p.kind == "dropped")
        dropped(p);
    else if (p.kind == "sleep")
        numbers(p, sleeping);
    else if (p.kind == "busy")
        numbers(p, busy);
    else if (p.kind == "argument")
        argument(p);
    else if (p.kind == "result")
        result(p);
    else if (p.kind == "tls") // on clusters of its own
        bench::compare_tls(p.reps);
    else
        throw std::invalid_argument("unknown case '" + p.kind + "'");
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    try {
        run(bench::parse(argc, argv));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}

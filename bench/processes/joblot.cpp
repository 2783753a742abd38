// SPDX-License-Identifier: BSL-1.0
// The process benchmarks with joblot: the calls as a user writes them. bench/run_processes.py runs it against
// loky_peer.py, which has the same cases.
#include "command_line.hpp"
#include "memory.hpp"

#include <joblot/joblot.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <numeric>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using bench::parameters;
namespace views = std::views;

double trivial(int i) { return i * 0.5; }
int which_process(int) { return ::getpid(); }

/// In eight parts, so that the compiler may use vectors: what is measured is memory, not the chain of additions.
double sum(std::span<const double> values) {
    double parts[8] = {};
    for (std::size_t i = 0; i + 8 <= values.size(); i += 8) {
        for (std::size_t k = 0; k != 8; ++k) parts[k] += values[i + k];
    }
    return std::accumulate(std::begin(parts), std::end(parts), 0.0);
}
double sum_vector(const std::vector<double>& values) { return sum(values); }

/// What of a task's time is spent on reading the argument.
double seconds_to_read(std::span<const double> values) {
    return bench::time_of([&] {
        const volatile double result = sum(values);
        static_cast<void>(result);
    });
}

bench::memory idle_memory(std::string folder, std::string stage, int workers) {
    bench::meet(folder, stage, workers);
    return bench::memory_now();
}
bench::memory memory_with(std::span<const double> values, std::string folder, int workers) {
    static_cast<void>(seconds_to_read(values));
    bench::meet(folder, "has read", workers);
    const bench::memory m = bench::memory_now();
    bench::meet(folder, "has looked", workers); // nobody unmaps it while the other one looks
    return m;
}

joblot::Parallel processes(const parameters& p, std::size_t batch) {
    joblot::options o{.n_jobs = p.workers, .backend = joblot::processes{}};
    if (batch) o.batch_size = batch;
    return joblot::Parallel(std::move(o));
}

/// One task for each worker: of unknown length, so that none is sent to a worker while another one is at work there.
auto one_for_each(const parameters& p) {
    return views::iota(0, p.workers) | views::filter([](int) { return true; });
}

/// Prints one line per repetition; the first one is a warm-up.
template <class Body>
void repeat(const parameters& p, Body body) {
    for (int rep = -1; rep < p.reps; ++rep) {
        const double value = body();
        if (rep >= 0) std::printf("%.9f\n", value);
    }
}

/// 'first all': seconds to the first result, and to that of all workers.
void cold(const parameters& p) {
    const auto start = bench::steady::now();
    auto results =
        processes(p, 1).generator_unordered(one_for_each(p) | views::transform(joblot::delayed(which_process)));
    double first = 0;
    std::set<int> pids;
    for (const auto& done : results) {
        if (pids.empty()) first = bench::seconds_since(start);
        pids.insert(done.value);
    }
    std::printf("%.9f %.9f\n", first, bench::seconds_since(start));
    if (pids.size() != static_cast<std::size_t>(p.workers)) throw std::runtime_error("a worker was not used");
}

void trivial_tasks(const parameters& p) {
    const auto inputs = views::iota(0, static_cast<int>(p.tasks));
    repeat(p, [&] {
        return bench::time_of([&] {
            const std::vector<double> r = processes(p, p.batch)(inputs | views::transform(joblot::delayed(trivial)));
            if (r.back() != trivial(static_cast<int>(p.tasks) - 1)) throw std::runtime_error("wrong result");
        });
    });
}

/// Tasks that have an array of their own as argument: `f` of {1, 1, ...}, {2, 2, ...}, and so on.
template <class F>
auto tasks_with_arrays(const parameters& p, F f) {
    std::vector<decltype(joblot::delayed(f)(std::vector<double>()))> tasks;
    for (std::size_t i = 0; i != p.tasks; ++i)
        tasks.push_back(joblot::delayed(f)(std::vector<double>(p.bytes / sizeof(double), static_cast<double>(i + 1))));
    return tasks;
}

/// Seconds per task; what `call` returns must be the sums of the arrays.
template <class Call>
void time_sums(const parameters& p, bool distinct, Call call) {
    repeat(p, [&] {
        std::vector<double> sums;
        const double seconds = bench::time_of([&] { sums = call(); });
        for (std::size_t i = 0; i != sums.size(); ++i) {
            const double value = distinct ? static_cast<double>(i + 1) : 1.0;
            if (sums[i] != value * static_cast<double>(p.bytes / sizeof(double))) throw std::runtime_error("wrong sum");
        }
        return seconds / static_cast<double>(p.tasks);
    });
}

/// Seconds per task that has an array as its argument and adds it up. The arrays are made beforehand.
void argument(const parameters& p) {
    if (p.how == "vector") {
        auto tasks = tasks_with_arrays(p, sum_vector);
        time_sums(p, true, [&] { return processes(p, 1)(tasks); });
    } else if (p.how == "span") {
        auto tasks = tasks_with_arrays(p, sum);
        time_sums(p, true, [&] { return processes(p, 1)(tasks); });
    } else if (p.how == "broadcast") { // one array for all of them
        const auto shared = joblot::broadcast(std::vector<double>(p.bytes / sizeof(double), 1.0));
        const auto one = [&](std::size_t) { return joblot::delayed(sum)(shared); };
        time_sums(p, false,
                  [&] { return processes(p, 1)(views::iota(std::size_t{0}, p.tasks) | views::transform(one)); });
    } else {
        throw std::invalid_argument("--how: " + p.how);
    }
}

/// Median seconds of `copies` copies into memory that was used before, while nothing else runs here; the k-th one of
/// `source(k)`.
template <class Source>
double seconds_to_copy(const parameters& p, std::size_t copies, Source source) {
    std::vector<double> to(p.bytes / sizeof(double), 1.0), times;
    for (std::size_t k = 0; k != copies; ++k) {
        const std::vector<double>& from = source(k);
        times.push_back(bench::time_of([&] { std::memcpy(to.data(), from.data(), from.size() * sizeof(double)); }));
        if (to.back() != from.back()) throw std::runtime_error("a wrong copy");
    }
    return bench::median(times);
}

/// 'task read hot cold': seconds per task; of it to read the argument where it is; of a memcpy of as many bytes, always
/// the same ones, which the cache may hold; of a memcpy of the tasks' own arrays, one after the other.
void read_in_place(const parameters& p) {
    const auto tasks = tasks_with_arrays(p, seconds_to_read);
    const auto array = [&](std::size_t k) -> const std::vector<double>& { return std::get<0>(tasks[k].arguments()); };
    for (int rep = -1; rep < p.reps; ++rep) {
        const double hot = seconds_to_copy(p, 20, [&](std::size_t) -> const auto& { return array(0); });
        const double cold = seconds_to_copy(p, p.tasks, array);
        const auto start = bench::steady::now();
        const std::vector<double> read = processes(p, 1)(tasks);
        const double task = bench::seconds_since(start) / static_cast<double>(p.tasks);
        if (rep >= 0) std::printf("%.9f %.9f %.9f %.9f\n", task, bench::median(read), hot, cold);
    }
}

std::vector<bench::memory> by_pid(std::vector<bench::memory> all) {
    std::ranges::sort(all, {}, &bench::memory::pid);
    return all;
}

std::vector<bench::memory> memory_of_workers(const parameters& p, const std::string& stage) {
    return by_pid(processes(p, 1)(one_for_each(p) | views::transform([&](int) {
                                      return joblot::delayed(idle_memory)(p.meeting, stage, p.workers);
                                  })));
}

/// 'resident proportional own' of each worker, in bytes.
void memory(const parameters& p) {
    static_cast<void>(memory_of_workers(p, "warm up"));
    for (const bench::memory& m : memory_of_workers(p, "idle"))
        std::printf("%.0f %.0f %.0f\n", m.resident, m.proportional, m.own);
}

/// The same, but by how much it grows when each worker has read a broadcast value.
void broadcast(const parameters& p) {
    const auto value = joblot::broadcast(std::vector<double>(p.bytes / sizeof(double), 1.0));
    static_cast<void>(memory_of_workers(p, "warm up"));
    const auto before = memory_of_workers(p, "idle");
    const auto after = by_pid(processes(p, 1)(one_for_each(p) | views::transform([&](int) {
                                                  return joblot::delayed(memory_with)(value, p.meeting, p.workers);
                                              })));
    for (std::size_t i = 0; i != after.size(); ++i) {
        if (after[i].pid != before[i].pid) throw std::runtime_error("another worker was used");
        std::printf("%.0f %.0f %.0f\n", after[i].resident - before[i].resident,
                    after[i].proportional - before[i].proportional, after[i].own - before[i].own);
    }
}

double one_element(std::size_t i, const joblot::broadcasted<std::vector<double>>& values) { return values[i]; }

/// Seconds from a value in this process to the results of a task in each worker that reads an element of it.
void first_use(const parameters& p) {
    static_cast<void>(processes(p, 1)(one_for_each(p) | views::transform(joblot::delayed(which_process))));
    double number = 0;
    repeat(p, [&] {
        std::vector<double> values(p.bytes / sizeof(double), ++number);
        const auto start = bench::steady::now();
        const auto shared = joblot::broadcast(std::move(values));
        const auto task = [&](int i) { return joblot::delayed(one_element)(static_cast<std::size_t>(i), shared); };
        const std::vector<double> read = processes(p, 1)(one_for_each(p) | views::transform(task));
        const double seconds = bench::seconds_since(start);
        if (read != std::vector<double>(read.size(), number)) throw std::runtime_error("wrong result");
        return seconds; // to free it is not a part of it
    });
}

void run_case(const parameters& p) {
    if (p.kind == "cold")
        cold(p);
    else if (p.kind == "trivial")
        trivial_tasks(p);
    else if (p.kind == "argument")
        argument(p);
    else if (p.kind == "read")
        read_in_place(p);
    else if (p.kind == "memory")
        memory(p);
    else if (p.kind == "broadcast")
        broadcast(p);
    else if (p.kind == "first_use")
        first_use(p);
    else
        throw std::invalid_argument("unknown case " + p.kind);
}

} // namespace

int main(int argc, char** argv) try {
    joblot::init(argc, argv);
    run_case(bench::parse(argc, argv));
    return 0;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 2;
}

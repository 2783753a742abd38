// SPDX-License-Identifier: BSL-1.0
// The list of backends that every conformance test runs on. A new backend is one more line in `backends()`; what it
// cannot do is said by its capabilities, never by comparing names.
#pragma once

#include "external_backend.hpp"
#include "sanitizers.hpp"

#include <joblot/joblot.hpp>

#include <catch2/catch_message.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace support {

struct backend_case {
    const char* name;                                           // how the test output calls it
    void (*activate)(std::optional<joblot::parallel_backend>&); // builds the guard that selects it
    joblot::backend_choice (*choose)();                         // the same choice, for `options::backend`
    const char* line_name = "";                                 // what the first progress line calls it
    bool shared_memory = true;                                  // closures and the caller's variables reach the tasks
    bool parallel = true;                                       // tasks can run at the same time
    bool can_kill = false;                                      // a time limit ends a task that does not poll
    bool in_caller = false;                                     // all work is done by the thread that calls or reads
    bool pooled = true;                                         // threads are kept between calls
    bool closures = true;                                       // what a lambda captures by value reaches the tasks
    bool costly = false;                                        // a batch takes milliseconds, whatever it does
    bool tells_end_of_call = true;                              // workers know when a call is over
    bool in_order = true;                                       // with one worker, tasks begin when those before ended

    std::vector<int> worker_counts{1, 2, -1, 4};      ///< the values of `n_jobs` that most tests go through
    int most_tasks = std::numeric_limits<int>::max(); ///< what a call of many tasks has at most

    /// How many of `n` tasks a test takes.
    [[nodiscard]] int fewer(int n) const { return std::min(n, most_tasks); }
};

inline joblot::processes forked() { return {.start_method = joblot::start_method::fork}; }

/// For a test program that runs the same tests on backends of its own: set before the first test begins.
inline std::vector<backend_case> (*other_backends)() = nullptr;

inline std::vector<backend_case> backends() {
    if (other_backends) return other_backends();
    using joblot::backend_choice;
    using guard = std::optional<joblot::parallel_backend>;
    static const bool registered = [] {
        joblot::register_backend("thread_per_worker", make_thread_per_worker);
        return true;
    }();
    (void)registered;
    std::vector<backend_case> all{
        {.name = "sequential",
         .activate = [](guard& g) { g.emplace(joblot::sequential{}); },
         .choose = [] { return backend_choice{joblot::sequential{}}; },
         .line_name = "SequentialBackend",
         .parallel = false,
         .in_caller = true},
        {.name = "threads",
         .activate = [](guard& g) { g.emplace(joblot::threads{}); },
         .choose = [] { return backend_choice{joblot::threads{}}; },
         .line_name = "ThreadingBackend"},
        {.name = "threading, by name",
         .activate = [](guard& g) { g.emplace("threading"); },
         .choose = [] { return backend_choice{"threading"}; },
         .line_name = "ThreadingBackend"},
        {.name = "outside of the library, by name",
         .activate = [](guard& g) { g.emplace("thread_per_worker"); },
         .choose = [] { return backend_choice{"thread_per_worker"}; },
         .line_name = "ThreadPerWorkerBackend",
         .pooled = false},
        {.name = "outside of the library, an object",
         .activate = [](guard& g) { g.emplace(make_thread_per_worker()); },
         .choose = [] { return backend_choice{make_thread_per_worker()}; },
         .line_name = "ThreadPerWorkerBackend",
         .pooled = false},
        {.name = "processes, spawned",
         .activate = [](guard& g) { g.emplace("processes"); },
         .choose = [] { return backend_choice{"processes"}; },
         .line_name = "ProcessBackend",
         .shared_memory = false,
         .can_kill = true,
         .pooled = false,
         .closures = false},
    };
    // The thread sanitizer allows no threads after such a fork. With the address sanitizer each takes some 20 ms.
    if (!under_tsan)
        all.push_back({.name = "processes, forked",
                       .activate = [](guard& g) { g.emplace(forked()); },
                       .choose = [] { return backend_choice{forked()}; },
                       .line_name = "ProcessBackend",
                       .shared_memory = false,
                       .can_kill = true,
                       .pooled = false,
                       .costly = under_asan,
                       .worker_counts = under_asan ? std::vector{2} : std::vector{1, 2, -1, 4},
                       .most_tasks = under_asan ? 20 : std::numeric_limits<int>::max()});
    return all;
}

/// Selects a backend for the rest of the scope.
class selected {
public:
    explicit selected(const backend_case& which) { which.activate(guard_); }

private:
    std::optional<joblot::parallel_backend> guard_;
};

} // namespace support

/// Runs what follows in the test case once for each backend, which `var` describes and a guard selects.
#define JOBLOT_FOR_EACH_BACKEND(var)                                                                                   \
    const ::support::backend_case var = GENERATE(from_range(::support::backends()));                                   \
    const ::support::selected var##_selected{var};                                                                     \
    INFO("backend: " << var.name)

/// One value of `n_jobs` after the other, for a backend that `JOBLOT_FOR_EACH_BACKEND` has named.
#define JOBLOT_FOR_EACH_N_JOBS(backend) GENERATE_REF(from_range((backend).worker_counts))

/// Leaves the test case for backends without a capability: `JOBLOT_NEEDS(backend.parallel)`.
#define JOBLOT_NEEDS(capability)                                                                                       \
    do {                                                                                                               \
        if (!(capability)) return;                                                                                     \
    } while (false)

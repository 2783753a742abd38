// SPDX-License-Identifier: BSL-1.0
// The library: compiled with hidden visibility, so that nothing in it is seen from outside but what asks for that.

#include "hidden.hpp"
#include "problems.hpp"
#include "support/thread_count.hpp"

#include <unistd.h>

#include <stdexcept>

namespace hidden {

/// That the program has never seen.
struct own_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

} // namespace hidden

namespace {

using hidden::own_error;
using hidden::problem;
using joblot::delayed;
using joblot::Parallel;
namespace views = std::views;

[[maybe_unused]] const bool registered = (joblot::register_exception<own_error>(), true);

int n_jobs() { return joblot::effective_n_jobs(); }

bool knows_backend(const char* name) {
    try {
        const joblot::parallel_backend guard(name);
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

std::vector<int> processes_used() {
    return Parallel{}.map([](int) { return static_cast<int>(::getpid()); }, views::iota(0, 4));
}

bool has_task(std::size_t index) {
    try {
        return joblot::this_task::index() == index;
    } catch (const std::logic_error&) {
        return false;
    }
}

bool stop_requested() { return joblot::this_task::stop_requested(); }

int threads_after_call(int n_jobs) {
    Parallel({.n_jobs = n_jobs, .backend = "threads"}).map([](int i) { return i; }, views::iota(0, 100));
    return support::thread_count();
}

bool is_stopped(std::stop_token stop) {
    try {
        Parallel({.stop = std::move(stop)}).map([](int i) { return i; }, views::iota(0, 100));
        return false;
    } catch (const joblot::cancelled&) {
        return true;
    }
}

std::size_t failed_task(void (*thrower)(problem)) {
    try {
        thrower(problem::backend);
    } catch (...) {
        if (const auto task = joblot::failed_task()) return task->index;
    }
    return 0;
}

void throw_own() {
    const auto fail = [](int) -> int { throw own_error("the library's own"); };
    try {
        Parallel({.n_jobs = 2, .backend = "processes"}).map(fail, views::iota(0, 2));
    } catch (const own_error& e) {
        throw std::runtime_error(e.what());
    }
}

} // namespace

const hidden::parts* hidden_parts() {
    static const hidden::parts all{
        n_jobs,     knows_backend,    processes_used,       has_task,    stop_requested, threads_after_call,
        is_stopped, problems::throws, problems::are_caught, failed_task, throw_own,
    };
    return &all;
}

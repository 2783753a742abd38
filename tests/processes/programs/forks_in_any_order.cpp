// SPDX-License-Identifier: BSL-1.0
// Forks while other threads use all parts of the library, in each order of their first use: a child makes calls with
// all of them, and ends.

#include "program.hpp"

#include "../../support/child.hpp"
#include "../../support/sanitizers.hpp"

#include <joblot/stop_on_signal.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>

namespace {

using joblot::Parallel;
using namespace std::chrono_literals;

int twice(int i) { return 2 * i; }

bool call(const joblot::options& options) {
    const auto numbers = std::views::iota(0, 8);
    return std::ranges::equal(Parallel(options).map(twice, numbers), numbers | std::views::transform(twice));
}

using part = bool (*)();
constexpr std::array<part, 5> parts{
    [] {
        const joblot::stop_on_signal scope{SIGUSR2};
        return !scope.token().stop_requested();
    },
    [] { return call({.n_jobs = 2, .backend = "threads"}); },
    [] { return call({.n_jobs = 2, .backend = "threads", .timeout = 100s}); },
    [] { return call({.n_jobs = 2, .backend = "processes"}); },
    [] { return call({.n_jobs = 2, .backend = joblot::processes{.start_method = joblot::start_method::fork}}); }};

bool use_all(bool backwards) {
    if (!backwards) return std::ranges::all_of(parts, [](part p) { return p(); });
    return std::ranges::all_of(parts | std::views::reverse, [](part p) { return p(); });
}

/// In a process that has used nothing yet.
bool fork_after_each(std::array<part, parts.size()> order) {
    std::signal(SIGUSR1, [](int) {});
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0};
    std::vector<std::jthread> others;
    for (const bool backwards : {false, true})
        others.emplace_back([&, backwards] {
            while (!over) wrong += !use_all(backwards);
        });
    // A signal comes while a thread holds the lock of the tables: its handler waits for the lock of the scopes.
    others.emplace_back([&] {
        while (!over) const joblot::parallel_backend by_name{"threads"};
    });
    others.emplace_back([&over, interrupted = others.back().native_handle()] {
        while (!over) {
            const joblot::stop_on_signal scope{SIGUSR1};
            ::pthread_kill(interrupted, SIGUSR1);
        }
    });
    std::string how;
    for (const part p : order) {
        wrong += !p();
        how += support::run_in_child([] { return use_all(false); });
    }
    over = true;
    others.pop_back(); // before the one that it interrupts
    others.clear();
    if (!how.empty()) std::fprintf(stderr, "%s\n", how.c_str());
    return how.empty() && wrong == 0;
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    // Skipped: the thread sanitizer allows no threads after such a fork, and the address sanitizer's own locks (of its
    // table of threads, of its statistics) stay locked in the child where another thread had one.
    if (support::under_tsan || support::under_asan) return 77;
    for (std::size_t first = 0; first != parts.size(); ++first) {
        auto order = parts; // each part comes before each other one in some of these orders
        std::ranges::rotate(order, order.begin() + static_cast<std::ptrdiff_t>(first));
        for (const bool backwards : {false, true}) {
            if (backwards) std::ranges::reverse(order);
            const std::string how = support::run_in_child([&] { return fork_after_each(order); });
            program::require(how.empty(), how + ", first used: part " + std::to_string(first));
        }
    }
}

// SPDX-License-Identifier: BSL-1.0
// A task, an initializer or an argument that forks and goes on in both processes: the copy never speaks for the worker,
// runs none of its other tasks, and ends. A worker that says something without being asked is replaced.

#include "program.hpp"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <stdexcept>

namespace {

using joblot::Parallel;

int square(int i) { return i * i; }

int fork_and_return(int i) {
    if (::fork() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(i % 3)); // before and after the worker's
    return i;
}
int fork_and_throw(int i) {
    ::fork();
    throw std::runtime_error(std::to_string(i));
}
/// Writes on the worker's own socket, in the name of nobody.
int speak_from_child(int i) {
    if (::fork() == 0) {
        char noise[256] = {};
        for (int number = 3; number != 64; ++number) ::send(number, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT);
        ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return i;
}
/// Speaks when the task is over, when nobody asks.
int speak_later(int) {
    std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        char noise[64] = {};
        for (int number = 3; number != 64; ++number) ::send(number, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT);
    }).detach();
    return ::getpid();
}

void squares_are_right(const joblot::backend_choice& backend, int from) {
    const auto results =
        Parallel({.n_jobs = 1, .backend = backend, .batch_size = 1}).map(square, std::views::iota(from, from + 5));
    program::require(std::ranges::equal(results, std::views::iota(from, from + 5) | std::views::transform(square)),
                     "an answer of an earlier call");
}

void check(const joblot::backend_choice& backend) {
    for (const bool at_once : {false, true}) {
        for (int round = 0; round != 4; ++round) {
            const joblot::options options{.n_jobs = 1, .backend = backend, .batch_size = at_once ? 6 : 1};
            const auto numbers = std::views::iota(10 * round, 10 * round + 6);
            program::require(std::ranges::equal(Parallel(options).map(fork_and_return, numbers), numbers), "copies");
            squares_are_right(backend, 100 + round);
            for (const auto& outcome :
                 Parallel(options).outcomes(numbers | std::views::transform(joblot::delayed(fork_and_throw))))
                program::require(!outcome.has_value(), "copies that throw");
            squares_are_right(backend, 200 + round);
            program::require(std::ranges::equal(Parallel(options).map(speak_from_child, numbers), numbers), "noise");
            squares_are_right(backend, 300 + round);
        }
    }
}

std::chrono::microseconds cpu_time() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto of = [](timeval t) { return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec); };
    return of(used.ru_utime) + of(used.ru_stime);
}

void unasked() {
    const int talker = Parallel({.n_jobs = 1, .backend = "processes"}).map(speak_later, std::views::iota(0, 1)).front();
    program::require(program::eventually([&] { return program::is_gone(talker); }), "who speaks unasked stays");
    squares_are_right("processes", 1);
    const auto before = cpu_time();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    program::require(cpu_time() - before < std::chrono::milliseconds(300), "the keeper spins");
}

void fork_at_start() { ::fork(); }

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    check("processes");
    check(joblot::processes{.start_method = joblot::start_method::fork});
    squares_are_right(joblot::processes{.worker_init = fork_at_start}, 7);
    unasked();
}

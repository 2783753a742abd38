// SPDX-License-Identifier: BSL-1.0
// Ctrl-C, which goes to the program and all of its workers at once: by default everything ends; a program that handles
// it, and fires its stop source, gets `cancelled`, and its workers work on.

#include "program.hpp"

#include <atomic>
#include <csignal>
#include <stop_token>
#include <utility>

#include <pthread.h>
#include <signal.h>

namespace {

using joblot::Parallel;

int square(int i) { return i * i; }
int pid_then_sleep(int i) {
    if (i > 1) program::sleep_for_ever();
    return program::own_pid(i);
}
auto sleepers(const joblot::backend_choice& backend, std::stop_token stop) {
    return Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1, .pre_dispatch = 8, .stop = std::move(stop)})
        .generator(std::views::iota(0, 8) | std::views::transform(joblot::delayed(pid_then_sleep)));
}

std::atomic<bool> interrupted{false};

/// The program's loop: reads results until it is interrupted.
int play(bool handles_it, const joblot::backend_choice& backend) {
    static std::stop_source stop; // static: g++ 12 warns of a local one without reason
    if (handles_it) std::signal(SIGINT, [](int) { interrupted = true; });
    const std::jthread watcher([](const std::stop_token& over) {
        while (!over.stop_requested()) {
            if (interrupted) stop.request_stop();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    int read = 0;
    try {
        for (const int pid : sleepers(backend, stop.get_token())) {
            program::tell(pid);
            if (++read == 2) program::tell(0);
        }
    } catch (const joblot::cancelled&) {
        const auto squares = Parallel({.n_jobs = 2, .backend = backend}).map(square, std::views::iota(0, 4));
        return squares == std::vector{0, 1, 4, 9} ? 42 : 43; // the pool works on
    }
    return 44;
}

/// Idle workers see the signal as well; they are none the worse for it.
int play_idle() {
    std::signal(SIGINT, [](int) { interrupted = true; });
    const auto pids = [] {
        return Parallel({.n_jobs = 1, .backend = "processes"}).map(program::own_pid, std::views::iota(0, 1));
    };
    const auto before = pids();
    for (const int pid : before) program::tell(pid);
    program::tell(0);
    program::eventually([] { return interrupted.load(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return pids() == before ? 42 : 45;
}

void check(const char* role, int expected_end) {
    program::started parent(role, true);
    const auto workers = parent.numbers();
    program::require(!workers.empty(), std::string("no workers: ") + role);
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // they are asleep by now
    ::kill(-parent.pid(), SIGINT);
    const int end = program::end_of(parent.pid());
    program::require(end == expected_end, std::string(role) + " ended with " + std::to_string(end));
    program::require_gone(workers, role);
}

/// A child that was just forked is sent no signal until it is a worker: a handler of the program's would run there
/// where no lock is free.
void signals_wait_for_the_worker(const joblot::backend_choice& forked) {
    static sigset_t in_fork;
    program::require(::pthread_atfork(nullptr, nullptr, [] { ::pthread_sigmask(SIG_SETMASK, nullptr, &in_fork); }) == 0,
                     "pthread_atfork");
    const auto blocked = [](int) {
        sigset_t in_task;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &in_task);
        return std::pair(::sigismember(&in_fork, SIGTERM), ::sigismember(&in_task, SIGTERM));
    };
    const auto seen = Parallel({.n_jobs = 1, .backend = forked}).map(blocked, std::views::iota(0, 1));
    program::require(seen[0].first == 1, "a handler may run in a child that was just forked");
    program::require(seen[0].second == 0, "a worker lets signals in");
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    const std::string role = argc > 1 ? argv[1] : "";
    const joblot::processes forked{.start_method = joblot::start_method::fork};
    if (role == "idle") return play_idle();
    if (role == "default") return play(false, "processes");
    if (role == "handled") return play(true, "processes");
    if (role == "default, forked") return play(false, forked);
    if (role == "handled, forked") return play(true, forked);
    check("default", 128 + SIGINT);
    check("handled", 42);
    check("default, forked", 128 + SIGINT);
    check("handled, forked", 42);
    check("idle", 42);
    signals_wait_for_the_worker(forked);
}

// SPDX-License-Identifier: BSL-1.0
// stop_on_signal: which scope gets a signal, what is put back, child processes, threads, and what is refused.

#include "../support/sanitizers.hpp"
#include "../support/waiting.hpp"
#include "program.hpp"

#include <joblot/stop_on_signal.hpp>

#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using joblot::stop_on_signal;
using program::require;
using support::eventually;

std::atomic<int> handled{0};
void handler(int) { ++handled; }
void info_handler(int, siginfo_t*, void*) { handled += 100; }

void (*current(int number))(int) {
    struct sigaction now{};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler;
}

/// How a child process ends that runs `body`: its exit status, or 128 + the signal.
template <class Body>
int end_of(Body body) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(100);
        body();
        std::_Exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void one_scope() {
    {
        const stop_on_signal scope{SIGUSR1, SIGUSR2, SIGUSR1};
        require(!scope.token().stop_requested() && scope.signal() == 0, "nothing has come");
        ::raise(SIGUSR2);
        require(eventually([&] { return scope.token().stop_requested(); }), "the token fires");
        require(scope.signal() == SIGUSR2, "which signal");
        require(current(SIGUSR1) == SIG_DFL && current(SIGUSR2) == SIG_DFL, "both mean again what they meant");
    }
    {
        const stop_on_signal unused{SIGUSR1};
    }
    require(current(SIGUSR1) == SIG_DFL, "put back at the end");
    const int second = end_of([] {
        const stop_on_signal scope{SIGUSR1, SIGUSR2};
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
    });
    require(second == 128 + SIGUSR2, "the second one ends the program");
}

void earlier_handlers() {
    std::signal(SIGUSR1, handler);
    struct sigaction with_info{};
    with_info.sa_sigaction = info_handler;
    with_info.sa_flags = SA_SIGINFO;
    ::sigaction(SIGUSR2, &with_info, nullptr);
    {
        const stop_on_signal scope{SIGUSR1, SIGUSR2};
        ::raise(SIGUSR1);
        require(eventually([&] { return scope.token().stop_requested(); }) && handled == 0, "the scope's");
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        require(handled == 101, "the next ones are the earlier handlers'");
    }
    ::raise(SIGUSR2);
    require(handled == 201, "put back");
    {
        const stop_on_signal scope{SIGUSR1};
        std::signal(SIGUSR1, SIG_IGN); // somebody else's, within the scope
    }
    require(current(SIGUSR1) == SIG_IGN, "what came later stays");
    {
        const stop_on_signal scope{SIGUSR1, SIGUSR2};
        ::raise(SIGUSR1);
        require(current(SIGUSR1) == SIG_IGN && !scope.token().stop_requested(), "what is ignored stays so");
        ::raise(SIGUSR2);
        require(eventually([&] { return scope.token().stop_requested(); }), "the others are heard");
    }
    std::signal(SIGUSR1, SIG_DFL);
    std::signal(SIGUSR2, SIG_DFL);
    handled = 0;
}

void nested_scopes() {
    {
        const stop_on_signal outer{SIGUSR1};
        {
            const stop_on_signal inner{SIGUSR1, SIGUSR2};
            ::raise(SIGUSR1);
            require(eventually([&] { return inner.token().stop_requested(); }), "the newest gets it");
            require(!outer.token().stop_requested(), "and nobody else");
            ::raise(SIGUSR1);
            require(eventually([&] { return outer.token().stop_requested(); }), "then the next one");
            require(current(SIGUSR1) == SIG_DFL, "then nobody");
        }
        const stop_on_signal again{SIGUSR1};
        ::raise(SIGUSR1);
        require(eventually([&] { return again.token().stop_requested(); }), "a new one in a scope that has fired");
    }
    require(current(SIGUSR1) == SIG_DFL, "put back");
    // ended in another order
    std::signal(SIGUSR1, handler);
    auto first = std::make_unique<stop_on_signal>(std::initializer_list<int>{SIGUSR1});
    auto second = std::make_unique<stop_on_signal>(std::initializer_list<int>{SIGUSR1});
    first.reset();
    ::raise(SIGUSR1);
    require(eventually([&] { return second->token().stop_requested(); }) && handled == 0, "the younger one is there");
    ::raise(SIGUSR1);
    require(handled == 1, "it put back what the older one had found");
    second.reset();
    std::signal(SIGUSR1, SIG_DFL);
    handled = 0;
}

/// A callback takes a lock that the interrupted thread holds: in a handler that would never end.
void callbacks_that_lock() {
    std::mutex mutex;
    bool told = false;
    const stop_on_signal scope{SIGUSR1};
    const std::stop_callback tell(scope.token(), [&] {
        const std::lock_guard lock(mutex);
        told = true;
    });
    {
        const std::lock_guard lock(mutex);
        ::raise(SIGUSR1);
    }
    require(eventually([&] {
                const std::lock_guard lock(mutex);
                return told;
            }),
            "the callback ran on another thread");
}

void children() {
    const stop_on_signal scope{SIGUSR1};
    require(end_of([] { ::raise(SIGUSR1); }) == 128 + SIGUSR1, "a child has what was before");
    const int made_its_own = end_of([] {
        if (support::under_tsan) return; // which allows no threads after such a fork
        const stop_on_signal own{SIGUSR1};
        ::raise(SIGUSR1);
        require(eventually([&] { return own.token().stop_requested(); }), "a child's own scope");
    });
    require(made_its_own == 0, "a child may have one of its own");
    std::optional<stop_on_signal> left(std::in_place, std::initializer_list<int>{SIGUSR2});
    require(end_of([&] { left.reset(); }) == 0, "a child may leave its parent's");
    require(!scope.token().stop_requested() && !left->token().stop_requested(), "none of this reached the parent's");
    ::raise(SIGUSR1);
    require(eventually([&] { return scope.token().stop_requested(); }), "which still works");
}

void refuse(std::initializer_list<int> numbers, const std::string& what) {
    try {
        const stop_on_signal scope(numbers);
    } catch (const std::invalid_argument& e) {
        return require(std::string(e.what()).find(what) != std::string::npos, e.what());
    }
    require(false, "it must be refused");
}

/// Scopes of many threads, signals all the time, and forks in between: nothing hangs, no thread is left.
void stress() {
    std::signal(SIGUSR1, handler);
    std::atomic<bool> over{false};
    std::jthread sender([&] {
        while (!over) {
            ::kill(::getpid(), SIGUSR1);
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    });
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t != 4; ++t)
            threads.emplace_back([] {
                for (int i = 0; i != 200; ++i) {
                    const stop_on_signal a{SIGUSR1};
                    const stop_on_signal b{SIGUSR1, SIGUSR2};
                    if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }
            });
        for (int i = 0; i != 20; ++i) require(end_of([] {}) == 0, "a child of a busy parent");
    }
    over = true;
    sender.join();
    require(current(SIGUSR1) == handler && current(SIGUSR2) == SIG_DFL, "all is put back");
    std::signal(SIGUSR1, SIG_DFL);
}

} // namespace

int main() {
    program::watchdog();
    refuse({}, "no signals");
    for (const int never : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, 0, -1, 1000, 32})
        refuse({SIGINT, never}, "{" + std::to_string(never) + "}");
    require(current(SIGINT) == SIG_DFL, "a scope that was refused changes nothing");
    one_scope();
    earlier_handlers();
    nested_scopes();
    callbacks_that_lock();
    children();
    stress();
}

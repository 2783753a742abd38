// SPDX-License-Identifier: BSL-1.0
// Tasks end the thread that runs them, by pthread_exit. On a helper of the pool, in a worker process or a forked one
// that is the task's failure, and everything else goes on; the caller's own thread ends as it was told, and what it
// was in is tidied up. Nothing hangs, and no thread is missing afterwards.

#include "program.hpp"

#include <pthread.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

int ends_its_thread(int i) {
    if (i == 3) ::pthread_exit(nullptr);
    return i;
}

std::string message_of(const std::function<void()>& call) {
    try {
        call();
        return "no error";
    } catch (const joblot::error& e) {
        return e.what();
    }
}
bool says_it(const std::string& message) { return message.find("pthread_exit") != message.npos; }

template <class F>
auto tasks(F f, int n) {
    return std::views::iota(0, n) | std::views::transform(joblot::delayed(f));
}

// Notes that a thread which makes calls was unwound.
struct unwound {
    std::atomic<bool>& flag;
    ~unwound() { flag = true; }
};

/// Makes a call on a thread that its tasks may end. True if they did, and its stack was unwound.
bool ends_the_caller(const std::function<void()>& call) {
    std::atomic<bool> was_unwound{false};
    std::atomic<bool> returned{false};
    std::thread caller([&] {
        const unwound note{was_unwound};
        call();
        returned = true;
    });
    caller.join();
    return was_unwound && !returned;
}

void on_processes(const joblot::backend_choice& backend, const std::string& name) {
    joblot::Parallel p({.n_jobs = 2, .backend = backend});
    for (int round = 0; round != 3; ++round) {
        {
            const auto m = message_of([&] { p(tasks(ends_its_thread, 8)); });
            program::require(says_it(m), name + ": the call fails: " + m);
        }
        const auto all = p.outcomes(tasks(ends_its_thread, 40));
        for (int i = 0; i != 40; ++i) {
            const auto& one = all[static_cast<std::size_t>(i)];
            program::require(one.has_value() == (i != 3), name + ": outcome " + std::to_string(i));
            if (one.has_value()) program::require(one.value() == i, name + ": value " + std::to_string(i));
        }
        program::require(says_it(all[3].message()), name + ": " + all[3].message());
    }
    const joblot::Parallel again({.n_jobs = 2, .backend = backend, .retries = 2});
    program::require(again.outcomes(tasks(ends_its_thread, 5))[3].tries() == 3, name + ": it is tried again");
}

/// The task that a helper has ends it; the caller's own waits until that has happened.
void on_helpers(int n_jobs, int n, int batch_size) {
    const auto caller = std::this_thread::get_id();
    std::atomic<int> ended{0};
    const auto task = [&](int i) {
        if (std::this_thread::get_id() != caller && i % 2 == 1 && ended++ < 8) ::pthread_exit(nullptr);
        while (std::this_thread::get_id() == caller && ended == 0) std::this_thread::yield();
        return std::make_unique<int>(i);
    };
    const joblot::Parallel p({.n_jobs = n_jobs, .batch_size = batch_size});
    int failed = 0;
    const auto all = p.outcomes(tasks(task, n));
    for (int i = 0; i != n; ++i) {
        const auto& one = all[static_cast<std::size_t>(i)];
        if (one.has_value())
            program::require(*one.value() == i, "a helper ends: value " + std::to_string(i));
        else
            ++failed, program::require(says_it(one.message()), "a helper ends: " + one.message());
    }
    program::require(failed >= 1 && failed <= 8, "so many tasks end helpers: " + std::to_string(failed));
    ended = 0;
    program::require(says_it(message_of([&] { p(tasks(task, n)); })), "a helper ends: the call's error");

    // an input that is read as it goes, with little room ahead
    ended = 0;
    auto read = std::views::iota(0, n) | std::views::filter([](int) { return true; }) |
                std::views::transform(joblot::delayed(task));
    const joblot::Parallel lazy({.n_jobs = n_jobs, .batch_size = batch_size, .pre_dispatch = 2 * batch_size});
    failed = 0;
    for (const auto& one : lazy.outcomes(read)) failed += !one.has_value();
    program::require(failed >= 1 && failed <= 8, "of an input that is read: " + std::to_string(failed));

    // what comes after such a task in its batch is still there for the thread that runs it
    for (int round = 0; round != 10; ++round) {
        ended = 0;
        std::list<decltype(joblot::delayed(task)(0))> listed;
        for (int i = 0; i != n; ++i) listed.push_back(joblot::delayed(task)(i));
        failed = 0;
        for (const auto& one : p.outcomes(listed)) failed += !one.has_value();
        program::require(failed >= 1 && failed <= 8, "of a list: " + std::to_string(failed));
    }
}

void in_generators() {
    joblot::Parallel p({.n_jobs = 2});
    int seen = 0;
    const auto message = message_of([&] {
        for (const int i : p.generator(tasks(ends_its_thread, 50)))
            program::require(i == seen++, "a generator's value");
    });
    program::require(says_it(message), "a generator: " + message);
    program::require(seen == 3, "a generator gives what came before");
    program::require(says_it(message_of([&] {
                         for (auto&& one : p.generator_unordered(tasks(ends_its_thread, 50))) static_cast<void>(one);
                     })),
                     "an unordered generator");
}

int nested(int i) {
    int sum = 0;
    for (const int r : joblot::Parallel({.n_jobs = 2})(tasks(ends_its_thread, i == 3 ? 4 : 3))) sum += r;
    return sum;
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();

    on_processes(joblot::processes{}, "spawn");
    on_processes(joblot::processes{.start_method = joblot::start_method::fork}, "fork");

    for (const int batch_size : {1, 5}) on_helpers(4, 60, batch_size);
    in_generators();

    for (const char* const backend : {"sequential", "threads"}) {
        const joblot::Parallel one({.n_jobs = 1, .backend = backend});
        program::require(ends_the_caller([&] { one(tasks(ends_its_thread, 8)); }), std::string(backend) + ": a call");
        program::require(ends_the_caller([&] { one.outcomes(tasks(ends_its_thread, 8)); }),
                         std::string(backend) + ": outcomes");
    }
    const joblot::Parallel one({.n_jobs = 1, .backend = "sequential"});
    program::require(ends_the_caller([&] {
                         for (const int i : one.generator(tasks(ends_its_thread, 8))) static_cast<void>(i);
                     }),
                     "the reader of a generator");
    // Inside of a task: the inner call's thread is the outer task's.
    const auto outer = joblot::Parallel({.n_jobs = 2, .backend = joblot::processes{}}).outcomes(tasks(nested, 5));
    program::require(!outer[3].has_value() && outer[4].value() == 3, "a call inside of a task");

    // The pool is whole again: as many tasks as threads wait for each other.
    std::atomic<int> here{0};
    const auto meet = [&](int) {
        ++here;
        while (here < 4) std::this_thread::yield();
    };
    joblot::Parallel({.n_jobs = 4, .batch_size = 1})(tasks(meet, 4));
}

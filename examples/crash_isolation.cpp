// SPDX-License-Identifier: BSL-1.0
// Tasks that follow null pointers, hang, leak and throw, among others that work. Each has its own end, and the program
// survives them all: they run in worker processes, or on a cluster, with a time limit that kills and a memory limit.
#include "cli.hpp"

#include <joblot/joblot.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <map>
#include <new>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

enum class behaviour { works, segfaults, hangs, leaks, throws };

/// Of every eight tasks, four go wrong.
behaviour behaviour_of(int task) {
    using enum behaviour;
    static constexpr std::array all{works, segfaults, works, hangs, works, leaks, works, throws};
    return all[static_cast<std::size_t>(task) % all.size()];
}

void follow_null_pointer(int task) {
    std::cerr << "task " << task << " is about to follow a null pointer\n";
    volatile int* volatile nowhere = nullptr; // volatile: the compiler must not see through it
    *nowhere = task;
}

void leak() {
    for (;;) {
        char* volatile lost = new char[64 * 1024];
        static_cast<void>(lost);
    }
}

/// How many steps the Collatz sequence takes from `start` to 1.
int collatz_steps(int start) {
    int steps = 0;
    for (long n = start; n != 1; ++steps) n = n % 2 ? 3 * n + 1 : n / 2;
    return steps;
}

int task(int number, behaviour b) {
    switch (b) {
    case behaviour::works:
        break;
    case behaviour::segfaults:
        follow_null_pointer(number);
        break;
    case behaviour::hangs:
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    case behaviour::leaks:
        leak();
        break;
    case behaviour::throws:
        throw std::domain_error("task " + std::to_string(number) + " does not like its number");
    }
    return collatz_steps(number + 1);
}

std::string last_line(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    return text.substr(text.rfind('\n') + 1); // npos + 1 is 0
}

/// How a task ended: in a word, and in more.
std::pair<std::string, std::string> ending_of(const joblot::outcome<int>& o) {
    try {
        return {"worked", std::to_string(o.value()) + " steps"}; // value() throws what went wrong
    } catch (const joblot::worker_crashed& e) {
        const std::string how = e.signal() ? "signal " + std::to_string(*e.signal())
                                           : "exit status " + std::to_string(e.exit_status().value_or(-1));
        return {"crashed", how + "; last words: " + last_line(e.stderr_tail())};
    } catch (const joblot::timeout_error& e) {
        const std::chrono::duration<double> limit = e.limit();
        return {"timed out", "killed after " + std::to_string(limit.count()).substr(0, 4) + " s"};
    } catch (const std::bad_alloc&) {
        return {"ran out of memory", "at the memory limit of its process"};
    } catch (const std::exception& e) {
        return {"threw", e.what()};
    }
}

/// The backend of that name, if it survives such tasks.
joblot::backend_choice backend_that_can_kill(const std::string& name, std::size_t memory_limit) {
    static constexpr std::array<std::string_view, 3> processes{"processes", "loky", "multiprocessing"};
    if (std::ranges::find(processes, name) != processes.end()) return joblot::processes{.memory_limit = memory_limit};
    const joblot::parallel_backend known{name}; // throws for a name that is unknown
    if (name.starts_with("dask")) return name;  // with the memory limit of the cluster's workers
    throw cli::usage_error("--backend " + name + " would not survive these tasks: only worker processes can be killed");
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    int count = 16, time_limit = 1000, memory_limit = 256;
    cli::command_line cli("Runs tasks of which half crash, hang, leak or throw, and reports how each of them ended.");
    cli.backend = "processes";
    cli.option("--tasks", "N", count, "how many tasks", 1, 10'000);
    cli.option("--time-limit", "MS", time_limit, "milliseconds that a task may take", 1, 3'600'000);
    cli.option("--memory-limit", "MB", memory_limit, "memory that a worker process may allocate (not on a cluster)", 32,
               1'000'000);
    return cli.run(argc, argv, [&] {
        const auto workers = backend_that_can_kill(cli.backend, static_cast<std::size_t>(memory_limit) * 1'000'000);
        Parallel parallel({.n_jobs = cli.n_jobs, .backend = workers, .timeout = std::chrono::milliseconds(time_limit)});

        const auto make_task = [](int i) { return delayed(task)(i, behaviour_of(i)); };
        const auto outcomes = parallel.outcomes(views::iota(0, count) | views::transform(make_task));

        std::map<std::string, int> endings;
        for (std::size_t i = 0; i != outcomes.size(); ++i) {
            const auto [ending, detail] = ending_of(outcomes[i]);
            std::cout << "task " << i << ' ' << ending << ": " << detail << '\n';
            ++endings[ending];
        }
        std::cout << "of " << count << " tasks";
        for (const auto& [ending, times] : endings) std::cout << ", " << times << ' ' << ending;

        const auto afterwards = parallel(views::iota(1, 1001) | views::transform(delayed(collatz_steps)));
        std::cout << "\nafterwards, " << afterwards.size() << " more tasks worked: at most "
                  << std::ranges::max(afterwards) << " steps\n";
    });
}

// SPDX-License-Identifier: BSL-1.0
// What the tests of worker processes share: a scratch folder that tasks and tests talk through, what /proc says of
// processes, descriptors and memory, and checks of a call in which one task comes to grief.
#pragma once

#include "../support/sanitizers.hpp"
#include "../support/scratch.hpp"
#include "../support/waiting.hpp"

#include <joblot/joblot.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace support {

/// Writes a file that is complete as soon as it is there.
inline void publish(const std::string& file, const std::string& text) {
    const std::string unfinished = file + "." + std::to_string(::getpid());
    std::ofstream(unfinished) << text;
    std::filesystem::rename(unfinished, file);
}
/// What can be read of a file; "" where it is not there. (A stream would throw when a process ends while its file in
/// /proc is read.)
inline std::string read_all(const std::string& file) {
    std::string text;
    if (std::FILE* const in = std::fopen(file.c_str(), "re")) {
        char piece[4096];
        for (std::size_t n = 0; (n = std::fread(piece, 1, sizeof piece, in)) != 0;) text.append(piece, n);
        std::fclose(in);
    }
    return text;
}
/// Waits for a file that somebody publishes, and gives what is in it; "" where it does not come.
inline std::string await(const std::string& file) {
    return eventually([&] { return exists(file); }) ? read_all(file) : std::string();
}
inline pid_t await_pid(const std::string& file) {
    const std::string text = await(file);
    return text.empty() ? -1 : static_cast<pid_t>(std::stol(text));
}

/// A task that would never end by itself (well, in an hour).
inline void sleep_for_ever() {
    for (int i = 0; i != 3600; ++i) std::this_thread::sleep_for(std::chrono::seconds(1));
}

/// Tells in `dir` that the task is there, and waits for the others: so many tasks run at the same time.
inline void meet(const std::string& dir, int me, int all) {
    publish(dir + "/here-" + std::to_string(me), "");
    for (int i = 0; i != all; ++i)
        if (!eventually([&] { return exists(dir + "/here-" + std::to_string(i)); }))
            throw std::runtime_error("the tasks never met");
}

// --- what /proc says

struct process_facts {
    char state = '?';
    pid_t parent = -1;
};
/// Of a process that is there, a zombie included.
inline std::optional<process_facts> facts_of(pid_t pid) {
    const std::string stat = read_all("/proc/" + std::to_string(pid) + "/stat");
    const auto name_end = stat.rfind(") "); // the name may hold anything
    if (name_end == stat.npos) return std::nullopt;
    return process_facts{stat[name_end + 2], static_cast<pid_t>(std::stol(stat.substr(name_end + 4)))};
}
/// Whether a process runs no more. One whose new parent has not waited for it yet counts as gone.
inline bool is_gone(pid_t pid) {
    const auto facts = facts_of(pid);
    return !facts || facts->state == 'Z' || facts->state == 'X';
}

/// This process's children, zombies included.
inline std::set<pid_t> children() {
    std::set<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != name.npos) continue;
        const auto pid = static_cast<pid_t>(std::stol(name));
        if (const auto facts = facts_of(pid); facts && facts->parent == ::getpid()) found.insert(pid);
    }
    return found;
}

/// Waits until there is no child that was not there before; others may have ended since.
inline bool no_new_children(const std::set<pid_t>& before) {
    return eventually([&] { return std::ranges::includes(before, children()); });
}

/// What this process's open descriptors refer to, by number, "3 -> socket:[4711]".
inline std::vector<std::string> open_descriptors() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
        const bool is_the_listing = target.find("/fd") != target.npos && target.starts_with("/proc/");
        if (!gone && !is_the_listing) found.push_back(entry.path().filename().string() + " -> " + target);
    }
    return found;
}

/// A value of a file of lines "Name:   123 kB", in bytes.
inline std::size_t kilobytes_in(const std::string& file, const std::string& name) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(name + ":")) return std::stoul(line.substr(name.size() + 1)) * 1024;
    return 0;
}

// --- calls in which one task comes to grief

inline constexpr int victim = 4; ///< index of the task that does it: neither first nor last of its batch
inline constexpr int tasks_in_call = 20;

inline int right_value(int i) { return 7 * i + 1; }

/// A pool that works gives the right values.
inline bool pool_works(const joblot::Parallel& parallel) {
    const auto results =
        parallel(std::views::iota(0, tasks_in_call) | std::views::transform(joblot::delayed(right_value)));
    return std::ranges::equal(results, std::views::iota(0, tasks_in_call) | std::views::transform(right_value));
}

inline int own_pid(int) { return ::getpid(); }

/// The process that does the work of a call with one worker.
inline pid_t some_worker(const joblot::backend_choice& backend = "processes") {
    return joblot::Parallel({.n_jobs = 1, .backend = backend}).map(own_pid, std::views::iota(0, 1)).front();
}

/// How calls of these tests are to be made: big batches, so that the victim has siblings.
inline joblot::options big_batches(const joblot::backend_choice& backend = "processes") {
    return {.n_jobs = 2, .backend = backend, .batch_size = 10};
}

/// Checks that an exception is an E of the victim, and gives it to `check`.
template <class E, class Check>
void check_error(const std::exception_ptr& error, Check check) {
    REQUIRE(error);
    const auto task = joblot::failed_task(error);
    REQUIRE(task.has_value());
    CHECK(task->index == victim);
    CHECK(task->label == "ill-fated");
    try {
        std::rethrow_exception(error);
    } catch (const E& e) {
        check(e);
    } catch (const std::exception& e) {
        FAIL("another exception: " << e.what());
    }
}

/// Makes calls over `make(i)`, labelled "ill-fated", one of which, the victim's, fails with an E that `check` looks at.
/// All others must be right, however the call is made, and the pool must work afterwards.
template <class E, class Make, class Check>
void check_isolated(const joblot::options& options, Make make, Check check) {
    const joblot::Parallel parallel(options);
    const auto tasks = std::views::iota(0, tasks_in_call) | std::views::transform(make);
    const auto outcomes = parallel.outcomes(tasks);
    REQUIRE(outcomes.size() == tasks_in_call);
    for (int i = 0; i != tasks_in_call; ++i) {
        const auto& outcome = outcomes[static_cast<std::size_t>(i)];
        INFO("task " << i);
        if (i == victim) {
            REQUIRE(!outcome.has_value());
            check_error<E>(outcome.error(), check);
        } else {
            CHECK(outcome.value() == right_value(i));
        }
    }
    CHECK(pool_works(parallel));
    std::exception_ptr thrown;
    try {
        parallel(tasks);
    } catch (...) {
        thrown = std::current_exception();
    }
    check_error<E>(thrown, check);
    CHECK(pool_works(parallel));
}

/// Checks a call over `make(i)` whose victim fails at its first try only: one retry makes all of it right.
template <class Make>
void check_retried(joblot::options options, Make make) {
    options.retries = 1;
    const joblot::Parallel parallel(options);
    const auto results = parallel(std::views::iota(0, tasks_in_call) | std::views::transform(make));
    CHECK(std::ranges::equal(results, std::views::iota(0, tasks_in_call) | std::views::transform(right_value)));
    CHECK(pool_works(parallel));
}

} // namespace support

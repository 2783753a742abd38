// SPDX-License-Identifier: BSL-1.0
// Starts the program's own executable once more, as a worker.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/cpu_count.hpp>
#include <joblot/process/lifeline.hpp>
#include <joblot/process/worker_process.hpp>
#include <joblot/system/privileges.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

namespace joblot::detail {

/// The environment of a worker: that of this process, and how many threads OpenMP and its kin may start in it.
template <class = void>
class basic_worker_environment {
public:
    /// @param inner_threads If set, for all of them; else `fair` for those that the environment says nothing of.
    basic_worker_environment(std::optional<int> inner_threads, int fair) {
        constexpr std::array names{"OMP_NUM_THREADS",       "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                   "BLIS_NUM_THREADS",      "NUMEXPR_NUM_THREADS",  "NUMBA_NUM_THREADS",
                                   "VECLIB_MAXIMUM_THREADS"};
        for (char** e = environ; e && *e; ++e) {
            const std::string_view entry(*e);
            const auto named = [&](const char* n) { return entry.substr(0, entry.find('=')) == n; };
            if (!inner_threads || std::none_of(names.begin(), names.end(), named)) pointers_.push_back(*e);
        }
        own_.reserve(names.size()); // their addresses must stay
        for (const char* name : names) {
            if (!inner_threads && std::getenv(name)) continue;
            own_.push_back(std::string(name) + "=" + std::to_string(inner_threads.value_or(fair)));
            pointers_.push_back(own_.back().data());
        }
        pointers_.push_back(nullptr);
    }
    [[nodiscard]] char** get() noexcept { return pointers_.data(); }

private:
    std::vector<std::string> own_;
    std::vector<char*> pointers_;
};
using worker_environment = basic_worker_environment<>;

/// posix_spawn's lists, freed with their owner.
template <class = void>
class basic_spawn_plan {
public:
    basic_spawn_plan() {
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawnattr_init(&attributes_);
    }
    basic_spawn_plan(const basic_spawn_plan&) = delete;
    basic_spawn_plan& operator=(const basic_spawn_plan&) = delete;
    ~basic_spawn_plan() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }

    /// The worker finds `d` at `number`. It is moved out of the way of such numbers first.
    void give(const descriptor& d, int number) {
        descriptor high(::fcntl(d.get(), F_DUPFD_CLOEXEC, worker_outbox + 1));
        if (!high) cannot_start("fcntl", errno == EINVAL ? EMFILE : errno); // EINVAL: the limit is below that number
        ::posix_spawn_file_actions_adddup2(&actions_, high.get(), number);
        moved_.push_back(std::move(high));
    }
    void no_input() { ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0); }
    void close_from(int number) { ::posix_spawn_file_actions_addclosefrom_np(&actions_, number); }
    /// No signal is blocked but SIGINT, which the worker lets in when it knows what to do about it.
    void hold_back_interrupts() {
        sigset_t held;
        sigemptyset(&held);
        sigaddset(&held, SIGINT);
        ::posix_spawnattr_setsigmask(&attributes_, &held);
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
    }
    pid_t run(const char* file, char** arguments, char** environment) {
        pid_t pid = -1;
        const int error = ::posix_spawn(&pid, file, &actions_, &attributes_, arguments, environment);
        if (error == ENOENT || error == EACCES)
            cannot_start("/proc/self/exe cannot be used (is /proc mounted here, in this chroot or container?)", error);
        if (error != 0) cannot_start("posix_spawn", error);
        return pid;
    }

private:
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
    std::vector<descriptor> moved_;
};
using spawn_plan = basic_spawn_plan<>;

/// A program that was started by way of the loader (`ld.so ./program`) would start the loader again, without a program.
template <class = void>
void check_not_started_by_loader() {
    std::array<char, 4096> path{};
    const auto size = ::readlink("/proc/self/exe", path.data(), path.size());
    if (size <= 0) return;
    std::string_view name(path.data(), static_cast<std::size_t>(size));
    name.remove_prefix(name.rfind('/') + 1);
    if (!name.starts_with("ld-") && !name.starts_with("ld.so")) return;
    throw backend_error("joblot: a worker process cannot be started: /proc/self/exe is the loader (" +
                        std::string(name) + "), not the program: start the program itself, not by way of the loader");
}

/// Starts a worker. It is not known yet whether it will come up. @throws backend_error It cannot be started.
/// @param siblings How many workers share the machine's CPUs.
template <class = void>
std::unique_ptr<worker_process> spawn_worker(const worker_config& config, int siblings) {
    check_not_started_by_loader();
    if (is_privileged()) // the new process could not tell us from anybody who starts the program as a worker of theirs
        throw backend_error(std::string(privileged_program) +
                            "starts no worker processes; use threads, or start_method::fork");
    worker_ends ends;
    spawn_plan plan;
    plan.no_input();
    plan.give(ends.out[1], STDOUT_FILENO);
    plan.give(ends.err[1], STDERR_FILENO);
    plan.give(ends.socket[1], worker_socket);
    plan.give(ends.board, worker_board);
    plan.give(ends.inbox, worker_inbox);
    plan.give(ends.outbox, worker_outbox);
    const descriptor life = lifeline::for_worker();
    if (life) plan.give(life, worker_lifeline);
    plan.close_from(life ? worker_lifeline + 1 : worker_lifeline);
    plan.hold_back_interrupts();
    worker_environment environment(config.inner_threads, std::max(1, cpu_count() / std::max(1, siblings)));
    std::string mark = worker_argument + std::to_string(::getpid());
    std::array<char*, 3> arguments{program_invocation_name, mark.data(), nullptr};
    // the file that runs, even where it has been replaced on disk since
    const pid_t pid = plan.run("/proc/self/exe", arguments.data(), environment.get());
    std::unique_ptr<worker_process> worker = take_over(pid, std::move(ends), config);

    outgoing setup;
    worker_setup content{.memory_limit = config.memory_limit, .level = process_level() + 1};
    if (config.init) content.init = locate(reinterpret_cast<std::uintptr_t>(config.init));
    setup.put(content);
    worker->link().send(frame_kind::setup, setup, 0, {}, [] {}); // a new socket takes it at once
    return worker;
}

} // namespace joblot::detail

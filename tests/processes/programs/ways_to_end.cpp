// SPDX-License-Identifier: BSL-1.0
// However a program with workers ends, they end, too: idle ones, busy ones, and workers of workers.

#include "program.hpp"

#include <stdexcept>

namespace {

using joblot::Parallel;

std::vector<int> workers_of(const joblot::backend_choice& backend) {
    return Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1}).map(program::own_pid, std::views::iota(0, 8));
}
void tell_workers(const joblot::backend_choice& backend) {
    for (const int pid : workers_of(backend)) program::tell(pid);
}

std::vector<int> inner_workers(int) {
    auto pids = workers_of("processes");
    pids.push_back(::getpid());
    return pids;
}
void tell_nested() {
    for (const auto& pids : Parallel({.n_jobs = 2, .backend = "processes"}).map(inner_workers, std::views::iota(0, 2)))
        for (const int pid : pids) program::tell(pid);
}

// A generator gives the number of its worker, which then goes on with the next task.
int first_pid_then_sleep(int i) {
    if (i > 0) program::sleep_for_ever();
    return ::getpid();
}
auto busy_worker(const joblot::backend_choice& backend) {
    return Parallel({.n_jobs = 1, .backend = backend, .batch_size = 1, .pre_dispatch = 4})
        .generator(std::views::iota(0, 4) | std::views::transform(joblot::delayed(first_pid_then_sleep)));
}

int play(const std::string& role) {
    const bool idle = !role.ends_with("busy");
    tell_workers("processes");
    tell_nested();
    auto results = busy_worker("processes");
    if (!idle) program::tell(*results.begin());
    if (role.starts_with("killed") || role.starts_with("terminated")) {
        program::tell(0);
        program::sleep_for_ever();
    }
    if (role.starts_with("exit")) std::exit(7);
    if (role.starts_with("quick")) ::_exit(7);
    if (role.starts_with("throw")) throw std::runtime_error("nobody catches this");
    if (role.starts_with("abort")) std::abort();
    return 7;
}

// The generator is gone before main returns; nothing is busy then.
int play_return() {
    tell_workers("processes");
    tell_nested();
    tell_workers(joblot::processes{.inner_max_num_threads = 1});
    return 7;
}

void check(const char* role, int signal, int expected_end) {
    program::started parent(role);
    const auto workers = parent.numbers();
    program::require(workers.size() >= 8, std::string("no workers: ") + role);
    if (signal) ::kill(parent.pid(), signal);
    const int end = program::end_of(parent.pid());
    program::require(end == expected_end, std::string(role) + " ended with " + std::to_string(end));
    program::require_gone(workers, role);
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (argc > 1 && std::string(argv[1]) == "return") return play_return();
    if (argc > 1) return play(argv[1]);
    check("return", 0, 7);
    check("killed", SIGKILL, 128 + SIGKILL);
    check("killed busy", SIGKILL, 128 + SIGKILL);
    check("terminated busy", SIGTERM, 128 + SIGTERM);
    check("exit", 0, 7);
    check("exit busy", 0, 7);
    check("quick exit busy", 0, 7);
    check("throw busy", 0, 128 + SIGABRT);
    check("abort busy", 0, 128 + SIGABRT);
}

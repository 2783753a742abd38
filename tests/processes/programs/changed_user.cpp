// SPDX-License-Identifier: BSL-1.0
// Workers whose tasks change the user of their process end with a killed program all the same, also in a long task.
// What it needs is root's: without, there is nothing to see.

#include "program.hpp"

namespace {

int become_nobody_then_sleep(int i) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) std::_Exit(1);
    if (i > 1) program::sleep_for_ever();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return ::getpid();
}

int play(const std::string& how) {
    const joblot::processes backend{.start_method =
                                        how == "fork" ? joblot::start_method::fork : joblot::start_method::spawn};
    // the forked ones of a generator have gone when their numbers come: they are told by the tasks
    const auto tell_and_sleep = [](int) {
        if (::setgid(65534) != 0 || ::setuid(65534) != 0) std::_Exit(1);
        program::tell(::getpid());
        program::sleep_for_ever();
        return 0;
    };
    const joblot::Parallel p({.n_jobs = 2, .backend = backend, .batch_size = 1, .pre_dispatch = 8});
    if (how == "fork") {
        p.map(tell_and_sleep, std::views::iota(0, 2));
    } else {
        int read = 0;
        for (const int pid :
             p.generator(std::views::iota(0, 4) | std::views::transform(joblot::delayed(become_nobody_then_sleep)))) {
            program::tell(pid);
            if (++read == 2) program::tell(0);
        }
    }
    return 1;
}

void watch(const char* how) {
    program::started role(how);
    std::vector<pid_t> workers;
    if (std::string(how) == "fork") {
        workers = role.numbers(2);
    } else {
        workers = role.numbers();
    }
    program::require(workers.size() == 2, std::string(how) + ": two workers");
    ::kill(role.pid(), SIGKILL);
    program::end_of(role.pid());
    program::require_gone(workers, std::string(how) + ", the user was changed");
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (::getuid() != 0) return 0;
    if (argc > 1) return play(argv[1]);
    for (const char* const how : {"spawn", "fork"}) watch(how);
}

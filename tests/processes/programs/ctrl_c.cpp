// SPDX-License-Identifier: BSL-1.0
// Ctrl-C at a terminal, typed as a user types it: the first one stops a sweep, which keeps its results, on threads and
// on worker processes; the second one ends the program with SIGINT, also while a task does not heed the first; what was
// in force before the scope is back behind it.

#include "../../support/sanitizers.hpp"
#include "program.hpp"

#include <joblot/stop_on_signal.hpp>

#include <stdlib.h>
#include <sys/ioctl.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using joblot::Parallel;

constexpr int quick = 8;

/// On the terminal.
void say(const char* word) {
    std::puts(word);
    std::fflush(stdout);
}

int sweep(int i) {
    if (i >= quick) {
        program::eventually([] { return joblot::this_task::stop_requested(); });
        throw std::runtime_error("told to stop");
    }
    return i * i;
}
int deaf(int i) {
    if (i == 0) say("now");
    program::sleep_for_ever();
    return i;
}

joblot::backend_choice backend_of(const std::string& name) {
    if (name == "forked") return joblot::processes{.start_method = joblot::start_method::fork};
    return name.c_str();
}

std::atomic<int> handled{0};

/// What a user's program is like. Says when it is time to press Ctrl-C, by a line on the terminal.
int play(const std::string& role, const joblot::backend_choice& backend) {
    if (role == "earlier") std::signal(SIGINT, [](int) { ++handled; });
    {
        const joblot::stop_on_signal ctrl_c{SIGINT, SIGTERM};
        const auto tell = [said = false](const joblot::progress_event& e) mutable {
            if (e.done >= quick && !std::exchange(said, true)) say("now");
        };
        if (role == "deaf") { // on threads nobody can end it but the user
            const std::stop_callback then(ctrl_c.token(), [] { say("again"); });
            Parallel({.n_jobs = 2, .backend = backend, .stop = ctrl_c}).map(deaf, std::views::iota(0, 4));
            return 40;
        }
        const auto all = Parallel({.n_jobs = 2,
                                   .backend = backend,
                                   .progress = tell,
                                   .batch_size = 1,
                                   .stop = ctrl_c,
                                   .on_stop = joblot::keep})
                             .outcomes(std::views::iota(0, 40) | std::views::transform(joblot::delayed(sweep)));
        if (ctrl_c.signal() != SIGINT || all.size() != 40) return 41;
        for (std::size_t i = 0; i != 40; ++i) {
            if (all[i].has_value() != (i < quick)) return 42;
            if (i < quick ? all[i].value() != static_cast<int>(i * i) : all[i].tries() != 0) return 43;
        }
        // The pool works on.
        if (Parallel({.n_jobs = 2, .backend = backend}).map(sweep, std::views::iota(0, 3)).back() != 4) return 44;
    }
    say("again");
    program::eventually([] { return handled != 0; }); // or the program ends
    return handled == 1 ? 7 : 45;
}

/// The program in a role, with a terminal of its own, in which it has the foreground.
class terminal {
public:
    terminal(const std::string& role, const std::string& backend) {
        master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        program::require(master_ >= 0 && ::grantpt(master_) == 0 && ::unlockpt(master_) == 0, "a pseudo-terminal");
        const std::string name = ::ptsname(master_);
        pid_ = ::fork();
        program::require(pid_ >= 0, "fork");
        if (pid_ == 0) {
            ::setsid();
            const int slave = ::open(name.c_str(), O_RDWR); // becomes the controlling terminal
            if (slave < 0 || ::ioctl(slave, TIOCSCTTY, 0) != 0) ::_exit(96);
            for (int fd = 0; fd != 3; ++fd) ::dup2(slave, fd);
            ::execl("/proc/self/exe", "joblot-test-role", role.c_str(), backend.c_str(), static_cast<char*>(nullptr));
            ::_exit(98);
        }
    }
    ~terminal() { ::close(master_); }
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;

    void press_ctrl_c() const { program::require(::write(master_, "\x03", 1) == 1, "typing"); }
    /// Reads what is on the screen up to a line with that word; fails where the program ends before.
    void wait_for(const std::string& word) {
        char text[256];
        while (screen_.find(word + "\r\n") == std::string::npos) {
            const auto got = ::read(master_, text, sizeof text);
            program::require(got > 0, "the program ended before it said '" + word + "'; it said: " + screen_);
            screen_.append(text, static_cast<std::size_t>(got));
        }
    }
    [[nodiscard]] int end() const { return program::end_of(pid_); }

private:
    int master_ = -1;
    pid_t pid_ = -1;
    std::string screen_;
};

void check(const std::string& role, const std::string& backend, int expected_end) {
    terminal user(role, backend);
    user.wait_for("now");
    user.press_ctrl_c();
    user.wait_for("again");
    user.press_ctrl_c();
    const int end = user.end();
    program::require(end == expected_end, role + ", " + backend + " ended with " + std::to_string(end));
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (argc > 2) return play(argv[1], backend_of(argv[2]));
    for (const char* backend : {"threads", "processes", "forked"}) {
        if (support::under_tsan && backend == std::string("forked")) continue; // which allows no threads after the fork
        check("default", backend, 128 + SIGINT);
        check("earlier", backend, 7);
    }
    check("deaf", "threads", 128 + SIGINT);
}

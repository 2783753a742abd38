// SPDX-License-Identifier: BSL-1.0
// SIGKILL, held up on its way to the kernel: the worker has gone on to another task when it comes, and that one is not
// to blame; or the process has ended, and a program that waits for all of its children has freed its number, so that
// no signal may go by it. The functions of the C library that send signals are this program's here.

#include "program.hpp"

#include <joblot/dask/local/child_process.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

namespace {

std::function<void()> before_next_kill; // set while no signal is on its way
std::atomic<int> killed{0};             // by what is not its number
std::atomic<int> killed_by_number{0};

using real_syscall = long (*)(long, long, long, long, long, long, long);
real_syscall to_kernel() {
    static const auto real = reinterpret_cast<real_syscall>(::dlsym(RTLD_NEXT, "syscall"));
    return real;
}

} // namespace

extern "C" long syscall(long number, ...) noexcept {
    std::va_list more;
    va_start(more, number);
    long a[6];
    for (long& one : a) one = va_arg(more, long);
    va_end(more);
    if (number == SYS_pidfd_send_signal && a[1] == SIGKILL) {
        ++killed;
        if (const auto hold_up = std::exchange(before_next_kill, nullptr)) hold_up();
    }
    return to_kernel()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
extern "C" int kill(pid_t pid, int signal) noexcept {
    if (signal == SIGKILL) ++killed_by_number;
    return static_cast<int>(to_kernel()(SYS_kill, pid, signal, 0, 0, 0, 0));
}

namespace {

using program::eventually;
using program::require;

bool exists(const std::string& file) { return ::access(file.c_str(), F_OK) == 0; }
/// False where it was there before.
bool create(const std::string& file) {
    const int number = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (number >= 0) ::close(number);
    return number >= 0;
}

int value_of(int i) { return 5 * i + 1; }

/// The first one takes too long, until the signal is on its way; the second one runs when it comes.
int in_turn(int i, const std::string& dir) {
    if (i == 0 && !eventually([&] { return exists(dir + "/on-its-way"); })) return -1;
    if (i == 1 && create(dir + "/second-runs")) program::sleep_for_ever();
    return value_of(i);
}

void the_next_task_is_not_blamed(const joblot::backend_choice& backend, const std::string& name) {
    std::string dir = (std::filesystem::temp_directory_path() / "joblot-test-XXXXXX").string();
    require(::mkdtemp(dir.data()) != nullptr, "mkdtemp");
    before_next_kill = [&dir] {
        create(dir + "/on-its-way");
        require(eventually([&] { return exists(dir + "/second-runs"); }), "the worker never went on");
    };
    const auto outcomes =
        joblot::Parallel({.n_jobs = 1, .backend = backend, .batch_size = 3, .timeout = std::chrono::seconds(2)})
            .outcomes(std::views::iota(0, 3) |
                      std::views::transform([&](int i) { return joblot::delayed(in_turn)(i, dir); }));
    for (int i = 0; i != 3; ++i) {
        const auto& one = outcomes[static_cast<std::size_t>(i)];
        if (one.has_value())
            require(one.value() == value_of(i), name + ": value " + std::to_string(i));
        else // the first one was too slow, unless its result came all the same
            require(i == 0 && one.message().find("time") != std::string::npos,
                    name + ": task " + std::to_string(i) + " is blamed: " + one.message());
    }
    require(exists(dir + "/second-runs"), name + ": no signal was held up");
    std::filesystem::remove_all(dir);
}

int passes_its_limit(int i) {
    if (i == 1) program::sleep_for_ever();
    return value_of(i);
}
int ends_its_process(int i) {
    if (i == 1) ::raise(SIGABRT);
    return value_of(i);
}

/// Idle ones end, which the pool finds out later.
void idle_workers_end() {
    const auto pids = joblot::Parallel({.n_jobs = 2, .backend = "processes"})
                          .map([](int) { return static_cast<int>(::getpid()); }, std::views::iota(0, 1));
    to_kernel()(SYS_kill, pids[0], SIGKILL, 0, 0, 0, 0);
    require(eventually([&] { return !exists("/proc/" + std::to_string(pids[0])); }), "its number is free");
}

/// The program lets the kernel wait for its children.
void no_signal_goes_by_number(const joblot::backend_choice& backend, const std::string& name) {
    const joblot::options o{.n_jobs = 2, .backend = backend, .timeout = std::chrono::seconds(2)};
    for (const auto f : {passes_its_limit, ends_its_process}) {
        const auto outcomes =
            joblot::Parallel(o).outcomes(std::views::iota(0, 4) | std::views::transform(joblot::delayed(f)));
        for (int i = 0; i != 4; ++i) {
            const auto& one = outcomes[static_cast<std::size_t>(i)];
            require(one.has_value() == (i != 1), name + ": task " + std::to_string(i) + " of the four");
            if (one.has_value()) require(one.value() == value_of(i), name + ": its value");
        }
    }
    require(killed > 0, name + ": signals were sent");
    require(killed_by_number == 0, name + ": a signal went to a number that may be another process's");
}

/// The same of what a Dask client starts.
void no_child_is_killed_by_number() {
    const joblot::detail::descriptor nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    joblot::dask::engine::child_process child({"true"}, nowhere);
    require(eventually([&] { return child.has_ended() && !exists("/proc/" + std::to_string(child.pid())); }),
            "its number is free");
    child.kill();
    require(killed_by_number == 0, "a signal went to the number of a process that had ended");
}

void a_child_ends_with_its_group() {
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    const joblot::detail::descriptor from(ends[0]);
    const joblot::detail::descriptor to(ends[1]);
    joblot::dask::engine::child_process shell({"sh", "-c", "sleep 1000 & echo $!; wait"}, to);
    char text[32] = {};
    require(::read(from.get(), text, sizeof text - 1) > 0, "the shell says a number");
    shell.kill();
    require(shell.end_in_words() == "was ended by signal 9", "how it ended: it " + shell.end_in_words());
    program::require_gone({std::atoi(text)}, "its group has been killed");
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    const joblot::backend_choice spawned = joblot::processes{};
    const joblot::backend_choice forked = joblot::processes{.start_method = joblot::start_method::fork};
    the_next_task_is_not_blamed(spawned, "spawn");
    the_next_task_is_not_blamed(forked, "fork");
    a_child_ends_with_its_group();
    if (killed == 0) return 77; // a kernel without descriptors of processes
    killed_by_number = 0;       // a kernel that cannot send signals to a group by one does this, to a child of ours
    ::signal(SIGCHLD, SIG_IGN);
    idle_workers_end();
    no_signal_goes_by_number(spawned, "spawn");
    no_signal_goes_by_number(forked, "fork");
    no_child_is_killed_by_number();
}

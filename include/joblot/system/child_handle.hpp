// SPDX-License-Identifier: BSL-1.0
// A child process, to be ended and waited for by what stays its own: not by its number, which may be another's soon.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/descriptor.hpp>

#include <cerrno>
#include <csignal>

#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace joblot::detail {

/// A process that this one has just started. A program may wait for all of its children, ours included, in a handler of
/// SIGCHLD or by ignoring that: the number of one that has ended is free then. A descriptor (pidfd) still means it.
/// Before Linux 5.4 there is none, and it is the number after all, where that is seen to be a child of ours.
class child_handle {
public:
    child_handle() = default;
    explicit child_handle(pid_t pid) noexcept : pid_(pid), file_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Can be read once the process has ended; or -1.
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    void close() noexcept { file_.close(); }

    /// SIGKILL, where it has not ended.
    void kill() const noexcept { send(0, pid_); }
    /// The same for all of the process group that it leads.
    void kill_group() const noexcept { send(of_group, -pid_); }

    /// As `waitid`, but for EINTR. ECHILD: somebody else has waited for it.
    int wait(siginfo_t& facts, int flags) const noexcept {
        for (;;) {
            int result = -1;
            if (file_) result = ::waitid(by_file, static_cast<id_t>(file_.get()), &facts, flags);
            if (!file_ || (result < 0 && errno == EINVAL)) // a kernel that cannot
                result = ::waitid(P_PID, static_cast<id_t>(pid_), &facts, flags);
            if (result == 0 || errno != EINTR) return result;
        }
    }

private:
    static constexpr auto by_file = static_cast<idtype_t>(3); // P_PIDFD; older C libraries do not have the name
    static constexpr unsigned of_group = 4;                   // PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9

    void send(unsigned flags, pid_t number) const noexcept {
        if (file_) {
            if (::syscall(SYS_pidfd_send_signal, file_.get(), SIGKILL, nullptr, flags) == 0 || errno == ESRCH) return;
        }
        // A child that nobody has waited for keeps its number, and that of its group.
        siginfo_t facts{};
        if (wait(facts, WEXITED | WNOWAIT | WNOHANG) == 0) ::kill(number, SIGKILL);
    }

    pid_t pid_ = -1;
    descriptor file_;
};

} // namespace joblot::detail

// SPDX-License-Identifier: BSL-1.0
// Processes that tests start: Python's scheduler and workers, and whatever else is to be asked, killed or frozen.
#pragma once

#include "../processes/support.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace support {

/// The words of a command as `exec` takes them, as long as they are not changed.
inline std::vector<char*> pointers_to(std::vector<std::string>& command) {
    std::vector<char*> pointers;
    for (std::string& word : command) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

/// A child process with its own children, all of them killed when the object or the test program ends.
class process {
public:
    using words = std::vector<std::string>;
    using files = std::array<int, 3>; ///< stdin, stdout, stderr
    using starter = std::function<pid_t(const words& command, const files&)>;

    /// Starts `command`, with stdout and stderr appended to the file `log`. With `talks`, one can `ask` it.
    process(words command, const std::string& log, bool talks = false, const starter& start = executed)
        : command_(std::move(command)) {
        if (talks) open_pipes();
        int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (output < 0) throw std::system_error(errno, std::generic_category(), log);
        pid_ = start(command_, {talks ? to_child_[0] : STDIN_FILENO, talks ? from_child_[1] : output, output});
        close_one(output);
        close_one(to_child_[0]);
        close_one(from_child_[1]);
        if (pid_ < 0) throw std::runtime_error("cannot fork");
    }
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    ~process() {
        kill_all();
        for (int* pipe : {to_child_, from_child_})
            for (int* end : {pipe, pipe + 1}) close_one(*end);
    }

    /// Runs a command in a new child of this process, which leads a group and ends with the thread that started it.
    static pid_t executed(words command, const files& in_out_err) {
        const std::vector<char*> arguments = pointers_to(command);
        const pid_t pid = ::fork(); // not posix_spawn, which cannot ask for the signal
        if (pid == 0) become(arguments, in_out_err);
        return pid;
    }

    pid_t pid() const { return pid_; }
    void signal(int number) const { ::kill(pid_, number); }

    /// Waits for the end by itself; what waitpid says, or -1 where it does not come.
    int wait() {
        eventually([&] { return ended(); });
        return status_;
    }
    bool ended() {
        if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
        return ended_;
    }
    /// With its children: those that have not made a group of their own.
    void kill_all() {
        ::kill(-pid_, SIGKILL);
        while (!ended_ && ::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
        }
        ended_ = true;
    }

    /// Writes a line, and gives the line that it answers with.
    std::string ask(const std::string& question) {
        const std::string line = question + "\n";
        if (::write(to_child_[1], line.data(), line.size()) != static_cast<ssize_t>(line.size()))
            throw std::runtime_error(command_.at(1) + " does not listen");
        return next_line();
    }
    /// The next line that it prints.
    std::string next_line() {
        std::size_t end = 0;
        while ((end = unread_.find('\n')) == unread_.npos) {
            char piece[4096];
            pollfd ready{from_child_[0], POLLIN, 0};
            if (::poll(&ready, 1, 1000 * static_cast<int>(patience.count())) != 1)
                throw std::runtime_error(command_.at(1) + " gives no answer");
            const ssize_t size = ::read(from_child_[0], piece, sizeof piece);
            if (size <= 0) throw std::runtime_error(command_.at(1) + " has ended");
            unread_.append(piece, static_cast<std::size_t>(size));
        }
        std::string line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return line;
    }

private:
    void open_pipes() {
        if (::pipe2(to_child_, O_CLOEXEC) != 0 || ::pipe2(from_child_, O_CLOEXEC) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe2");
    }
    static void close_one(int& descriptor) {
        if (descriptor >= 0) ::close(descriptor);
        descriptor = -1;
    }
    /// In the child, where only what a signal handler may do is allowed.
    [[noreturn]] static void become(const std::vector<char*>& arguments, const files& in_out_err) {
        ::setpgid(0, 0);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // also when the test program is killed
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::dup2(in_out_err[2], STDERR_FILENO);
        ::dup2(in_out_err[1], STDOUT_FILENO);
        ::dup2(in_out_err[0], STDIN_FILENO);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }

    words command_;
    pid_t pid_ = -1;
    int status_ = -1;
    bool ended_ = false;
    int to_child_[2] = {-1, -1}, from_child_[2] = {-1, -1};
    std::string unread_;
};

} // namespace support

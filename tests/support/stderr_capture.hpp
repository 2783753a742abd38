// SPDX-License-Identifier: BSL-1.0
// Catches what the process writes to stderr, one element per write(2): the pipe is in packet mode, so a line that
// was written in two pieces shows as two elements.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace support {

class stderr_capture {
public:
    stderr_capture() {
        std::fflush(stderr);
        if (::pipe2(pipe_, O_DIRECT | O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
        saved_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        ::dup2(pipe_[1], STDERR_FILENO);
        ::close(pipe_[1]);
        reader_ = std::thread{[this] { read_all(); }};
    }
    ~stderr_capture() { stop(); }
    stderr_capture(const stderr_capture&) = delete;
    stderr_capture& operator=(const stderr_capture&) = delete;

    /// Gives stderr back and returns everything that was written to it, one element per write.
    std::vector<std::string> writes() {
        stop();
        return writes_;
    }

private:
    void read_all() {
        std::string packet(4096, '\0');
        for (;;) {
            const ssize_t size = ::read(pipe_[0], packet.data(), packet.size());
            if (size <= 0) return;
            writes_.emplace_back(packet.data(), static_cast<std::size_t>(size));
        }
    }
    void stop() {
        if (saved_ < 0) return;
        std::fflush(stderr);
        ::dup2(saved_, STDERR_FILENO); // closes the pipe's last writer, which ends the reader
        ::close(saved_);
        saved_ = -1;
        reader_.join();
        ::close(pipe_[0]);
    }

    int pipe_[2] = {-1, -1};
    int saved_ = -1;
    std::thread reader_;
    std::vector<std::string> writes_;
};

} // namespace support

// SPDX-License-Identifier: BSL-1.0
// Python programs that use Dask, forked from one that has imported it: python_server.py. A scheduler or a worker costs
// 0.1 s of CPU time to start so; by its command line it costs 0.9 s, with Dask of 2022 1.3 s.
#pragma once

#include "process.hpp"

#include <nlohmann/json.hpp>

#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace support {

/// The program that forks the others. It ends with the thread that asks for one first.
class python_server {
public:
    explicit python_server(const std::string& python)
        : sockets_(connected()),
          program_({python, "-B", JOBLOT_TEST_DASK_SCRIPTS "/python_server.py"}, folder_.file("log"), false,
                   [this](const process::words& command, process::files files) {
                       files[0] = sockets_[1];
                       return process::executed(command, files);
                   }) {
        ::close(sockets_[1]);
        ::prctl(PR_SET_CHILD_SUBREAPER, 1); // the parent of what it starts is this process
    }
    python_server(const python_server&) = delete;
    python_server& operator=(const python_server&) = delete;
    ~python_server() { ::close(sockets_[0]); }

    /// Starts a Python with this command line: a child of this process, like any other.
    pid_t start(const process::words& command, process::files files) {
        const std::string words = nlohmann::json(process::words(command.begin() + 1, command.end())).dump();
        send(words, files);
        char answer[32] = {};
        const ssize_t size = ::recv(sockets_[0], answer, sizeof answer - 1, 0);
        if (size <= 0) throw std::runtime_error("no Python is started: " + read_all(folder_.file("log")));
        return static_cast<pid_t>(std::stol(answer));
    }

private:
    static std::array<int, 2> connected() {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
            throw std::system_error(errno, std::generic_category(), "socketpair");
        const timeval limit{patience.count(), 0};
        ::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        return ends;
    }
    void send(std::string words, const process::files& files) const {
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof files)] = {};
        iovec text{words.data(), words.size()};
        msghdr message{};
        message.msg_iov = &text;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* const head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof files);
        std::memcpy(CMSG_DATA(head), files.data(), sizeof files);
        if (::sendmsg(sockets_[0], &message, MSG_NOSIGNAL) < 0)
            throw std::system_error(errno, std::generic_category(), "python_server.py");
    }

    scratch_dir folder_; // first: the last to go
    std::array<int, 2> sockets_;
    process program_;
};

/// Starts {PYTHON, "-m", MODULE or SCRIPT, ...} by the server of that Python. With JOBLOT_TEST_DASK_STOCK set, as
/// everybody does.
inline pid_t forked_python(const process::words& command, const process::files& files) {
    static const bool stock = std::getenv("JOBLOT_TEST_DASK_STOCK") != nullptr;
    if (stock) return process::executed(command, files);
    static python_server server(command.at(0)); // tests have one Python
    return server.start(command, files);
}

} // namespace support

// SPDX-License-Identifier: BSL-1.0
// A program that runs with the rights of another user than the one who starts it does not let that user choose the
// cluster that it speaks to, and starts no Python, which would run what that user's environment names.

#include "../../processes/programs/set_uid.hpp"
#include "../../processes/programs/program.hpp"

#include <joblot/dask.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>

namespace {

namespace dask = joblot::dask;

/// 0 where the call says `text`, else the number.
template <class Call>
int says(const std::string& text, int wrong, Call call) {
    try {
        call();
    } catch (const joblot::backend_error& e) {
        if (std::string(e.what()).find(text) != std::string::npos) return 0;
        std::fprintf(stderr, "%s\n", e.what());
    }
    return wrong;
}

int role(const std::string& python) {
    const auto on_backend = [] {
        joblot::Parallel({.n_jobs = 1, .backend = "dask"}).map([](int i) { return i; }, std::views::iota(0, 2));
    };
    if (const int wrong = says("which Dask cluster", 3, on_backend)) return wrong;
    if (const int wrong = says("set-uid", 4, [] { dask::Client(); })) return wrong;
    if (const int wrong = says("set-uid", 5, [&] { dask::Client({.python = python}); })) return wrong;
    return 42;
}

/// Where the one who starts the program waits for it.
struct listener {
    joblot::detail::descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    std::string address;
    listener() {
        sockaddr_in place{};
        place.sin_family = AF_INET;
        place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof place;
        auto* const any = reinterpret_cast<sockaddr*>(&place);
        program::require(::bind(socket.get(), any, size) == 0 && ::listen(socket.get(), 8) == 0 &&
                             ::getsockname(socket.get(), any, &size) == 0,
                         "listen");
        address = "tcp://127.0.0.1:" + std::to_string(ntohs(place.sin_port));
    }
    [[nodiscard]] bool heard() const { return ::accept(socket.get(), nullptr, nullptr) >= 0; }
};

} // namespace

int main(int argc, char** argv) {
    const bool privileged = ::geteuid() != ::getuid();
    joblot::init(argc, argv);
    program::watchdog();
    if (privileged) return role(argv[1]);
    if (::getuid() != 0) return 77;
    char folder[] = "/tmp/joblot-test-XXXXXX";
    program::require(::mkdtemp(folder) && ::chmod(folder, 0777) == 0, "mkdtemp");
    const std::string path = std::string(folder) + "/program", python = std::string(folder) + "/python",
                      mark = std::string(folder) + "/mark";
    std::FILE* const script = std::fopen(python.c_str(), "w");
    std::fprintf(script, "#!/bin/sh\ntouch %s\n", mark.c_str());
    program::require(std::fclose(script) == 0 && ::chmod(python.c_str(), 0755) == 0, "a script");
    int end = 77;
    const listener stranger;
    std::filesystem::copy_file("/proc/self/exe", path);
    if (program::make_set_uid(path)) {
        const pid_t pid = ::fork();
        program::require(pid >= 0, "fork");
        if (pid == 0) {
            ::setenv("DASK_SCHEDULER_ADDRESS", stranger.address.c_str(), 1);
            ::setenv("JOBLOT_PYTHON", python.c_str(), 1);
            ::execl(path.c_str(), path.c_str(), python.c_str(), static_cast<char*>(nullptr));
            ::_exit(98);
        }
        end = program::end_of(pid);
    }
    const bool ran = std::filesystem::exists(mark);
    std::filesystem::remove_all(folder);
    if (end == 77) return 77; // no such programs here
    program::require(end == 42, "the program with another's rights ended with " + std::to_string(end));
    program::require(!stranger.heard(), "it has spoken to the cluster of whoever started it");
    program::require(!ran, "it has started a Python");
}

// SPDX-License-Identifier: BSL-1.0
// Programs that cannot start themselves again say why: started by way of the loader, or where /proc is not there.
// Forked workers run there all the same.

#include "../../support/sanitizers.hpp"
#include "program.hpp"

#include <sched.h>
#include <sys/mount.h>

#include <array>
#include <fstream>
#include <string>

namespace {

using joblot::Parallel;

int square(int i) { return i * i; }
int last_square(const joblot::backend_choice& backend) {
    return Parallel({.n_jobs = 2, .backend = backend}).map(square, std::views::iota(0, 5)).back();
}

/// 0 if worker processes are refused with `text`, and forked ones run.
int says(const std::string& text) {
    try {
        last_square("processes");
        return 3;
    } catch (const joblot::backend_error& e) {
        if (std::string(e.what()).find(text) == std::string::npos) return std::fprintf(stderr, "%s\n", e.what()), 4;
    }
    return last_square(joblot::processes{.start_method = joblot::start_method::fork}) == 16 ? 0 : 5;
}

/// The loader that this program was started with; empty where there was none.
std::string own_loader() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        const auto begin = line.find('/');
        if (begin != line.npos && line.find("/ld-linux") != line.npos) return line.substr(begin);
    }
    return {};
}

template <class Body>
int status_of(Body body) {
    const pid_t child = ::fork();
    if (child == 0) std::_Exit(body());
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (argc > 1) return says("not by way of the loader");
    if (support::under_asan || support::under_tsan) return 0; // they need /proc, and to be started as usual

    const std::string loader = own_loader();
    std::array<char, 4096> self{};
    program::require(::readlink("/proc/self/exe", self.data(), self.size() - 1) > 0, "the program's path");
    const auto by_loader = [&] {
        ::execl(loader.c_str(), loader.c_str(), self.data(), "by the loader", static_cast<char*>(nullptr));
        return 6;
    };
    if (!loader.empty()) program::require(status_of(by_loader) == 0, "started by way of the loader");

    const int status = status_of([] {
        if (::unshare(CLONE_NEWNS) != 0) return 77; // for root alone
        if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
        if (::mount("none", "/proc", "tmpfs", 0, nullptr) != 0) return 77;
        return says("is /proc mounted here");
    });
    program::require(status == 0 || status == 77, "without /proc: " + std::to_string(status));
    if (status == 77) std::puts("without /proc: not tried, as this needs root");
}

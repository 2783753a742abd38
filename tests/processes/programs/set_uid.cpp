// SPDX-License-Identifier: BSL-1.0
// A program that runs with the rights of another user than the one who starts it does not let that user choose whose
// code it runs: it is nobody's worker, whatever it is sent, and takes no backend from the environment.

#include "set_uid.hpp"
#include "../../support/sanitizers.hpp"
#include "program.hpp"

#include <joblot/core/catalogue.hpp>
#include <joblot/process/channel.hpp>
#include <joblot/process/hosted_main.hpp>
#include <joblot/process/worker_config.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/entry.hpp>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <utility>

namespace {

namespace detail = joblot::detail;
namespace views = std::views;
using joblot::Parallel;

int runs_here() {
    const auto used = Parallel{}.map([](int) { return static_cast<int>(::getpid()); }, views::iota(0, 4));
    for (const int pid : used)
        if (pid != ::getpid()) return 3;
    return 0;
}
int starts_no_worker() {
    try {
        Parallel({.n_jobs = 1, .backend = "processes"}).map([](int i) { return i; }, views::iota(0, 2));
    } catch (const joblot::backend_error& e) {
        return std::string(e.what()).find("set-uid") != std::string::npos ? 0 : 4;
    }
    return 5;
}
int forks() {
    const joblot::processes forked{.start_method = joblot::start_method::fork};
    const auto used = Parallel({.n_jobs = 1, .backend = forked})
                          .map([](int) { return static_cast<int>(::getpid()); }, views::iota(0, 2));
    return used.at(0) != ::getpid() ? 0 : 6;
}

/// What whoever starts the program as a worker of his has it run: code of the program, but not what it does for him.
[[noreturn]] void choice_of_a_stranger() { ::_exit(43); }

/// The descriptors that a worker has, and the first message to it.
class stranger {
public:
    stranger() {
        int ends[2];
        program::require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
        socket_ = detail::descriptor(::fcntl(ends[1], F_DUPFD_CLOEXEC, 20));
        ::close(ends[1]);
        detail::outgoing setup;
        setup.put(detail::worker_setup{.init = detail::locate(reinterpret_cast<std::uintptr_t>(&choice_of_a_stranger)),
                                       .level = 1});
        link_.emplace(detail::descriptor(ends[0]), detail::descriptor(), detail::descriptor());
        link_->send(detail::frame_kind::setup, setup, 0, {}, [] {});
    }
    /// In the child that is to be the program.
    void give() const {
        ::dup2(socket_.get(), detail::worker_socket);
        for (const int memory : {detail::worker_board, detail::worker_inbox, detail::worker_outbox}) {
            const detail::descriptor file(::fcntl(::memfd_create("stranger", MFD_CLOEXEC), F_DUPFD_CLOEXEC, 20));
            if (::ftruncate(file.get(), sizeof(detail::task_board)) != 0) ::_exit(97);
            ::dup2(file.get(), memory);
        }
    }

private:
    detail::descriptor socket_;
    std::optional<detail::channel> link_;
};

/// The program with what a worker would be given, by whoever starts it.
int end_of_program(const std::string& path, const std::string& argument) {
    const stranger other_side;
    const pid_t pid = ::fork();
    program::require(pid >= 0, "fork");
    if (pid == 0) {
        ::setenv("JOBLOT_BACKEND", "processes", 1);
        other_side.give();
        ::execl(path.c_str(), path.c_str(), argument.c_str(), static_cast<char*>(nullptr));
        ::_exit(98);
    }
    return program::end_of(pid);
}

} // namespace

int main(int argc, char** argv) {
    const bool privileged = ::geteuid() != ::getuid();
    joblot::init(argc, argv);
    program::watchdog();
    if (privileged) {
        for (const auto part : {runs_here, starts_no_worker, forks})
            if (const int wrong = part()) return wrong;
        return 42; // came here, though it was told to be a worker
    }
    if (argc > 1) return 44;
    if (support::under_tsan || support::under_asan) return 77; // those open files that the environment names
    char folder[] = "/tmp/joblot-test-XXXXXX";
    program::require(::mkdtemp(folder) && ::chmod(folder, 0755) == 0, "mkdtemp");
    const std::string path = std::string(folder) + "/program";
    std::filesystem::copy_file("/proc/self/exe", path);
    const std::string self = std::to_string(::getpid());
    std::vector<std::pair<std::string, int>> ends; // by argument
    for (const char* const mark : {detail::worker_argument, detail::hosted_argument})
        ends.emplace_back(mark + self, end_of_program(path, mark + self));
    const bool changed = ::getuid() == 0 && program::make_set_uid(path);
    if (changed)
        for (const std::string& argument :
             {detail::worker_argument + self, detail::hosted_argument + self, std::string(detail::catalogue_argument)})
            ends.emplace_back(argument, end_of_program(path, argument));
    std::filesystem::remove_all(folder);
    for (std::size_t i = 0; i != ends.size(); ++i) {
        const int right = i < 2 ? 43 : 42; // with its own rights it is a worker of anybody's, so what is sent is right
        program::require(ends[i].second == right, (i < 2 ? "the program" : "the program with another's rights") +
                                                      (" given " + ends[i].first) + " ended with " +
                                                      std::to_string(ends[i].second));
    }
    if (!changed) return 77; // not root
}

// SPDX-License-Identifier: BSL-1.0
// A program that was started without stdin, stdout or stderr, one that may open few files, one whose files may not
// grow, and a task that closes every descriptor of its worker.

#include "program.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace {

using joblot::Parallel;

int talk(int i) {
    std::printf("working on %d\n", i);
    std::fprintf(stderr, "note on %d\n", i);
    return i;
}
std::size_t size_of(const std::vector<char>& v) { return v.size(); }

void talks(const joblot::backend_choice& backend) {
    const auto results = Parallel({.n_jobs = 2, .backend = backend}).map(talk, std::views::iota(0, 50));
    if (!std::ranges::equal(results, std::views::iota(0, 50))) std::_Exit(3);
}
void close_standard() {
    for (int number = 0; number != 3; ++number) ::close(number);
}
/// Nothing of ours has the number, and nothing that would take what is printed.
bool is_nobodys(int number) {
    struct stat what{};
    struct stat null{};
    if (::fstat(number, &what) != 0) return errno == EBADF;
    return ::stat("/dev/null", &null) == 0 && what.st_rdev == null.st_rdev;
}
int without_standard() {
    talks("processes");
    talks(joblot::processes{.start_method = joblot::start_method::fork});
    const auto [size] =
        Parallel({.n_jobs = 2, .backend = "processes"})(joblot::delayed(size_of)(std::vector<char>(1U << 20)));
    if (size != 1U << 20) return 4;
    for (int number = 0; number != 3; ++number)
        if (!is_nobodys(number)) return 5;
    return 0;
}
/// Closed by the program itself, behind init: then they stay closed.
int closes_standard() {
    close_standard();
    const auto square = [](int i) { return i * i; };
    for (const auto method : {joblot::start_method::spawn, joblot::start_method::fork})
        Parallel({.n_jobs = 2, .backend = joblot::processes{.start_method = method}})
            .map(square, std::views::iota(0, 50));
    for (int number = 0; number != 3; ++number)
        if (::fcntl(number, F_GETFD) >= 0) return 6; // one of ours is there
    return 0;
}
int start_without_standard() {
    close_standard();
    ::execl("/proc/self/exe", "joblot-test-role", "without", static_cast<char*>(nullptr));
    return 98;
}

void limit(int what, rlim_t value) {
    rlimit l{};
    ::getrlimit(static_cast<decltype(RLIMIT_NOFILE)>(what), &l);
    l.rlim_cur = value;
    ::setrlimit(static_cast<decltype(RLIMIT_NOFILE)>(what), &l);
}
template <class Call>
std::string error_of(Call call) {
    try {
        call();
    } catch (const std::exception& e) {
        limit(RLIMIT_NOFILE, 256); // sanitizers open a pipe to look at what is called
        return e.what();
    }
    return {};
}
int few_files() {
    limit(RLIMIT_NOFILE, 40);
    talks("processes");
    limit(RLIMIT_NOFILE, 8);
    const auto error = error_of([] { talks(joblot::processes{.inner_max_num_threads = 1}); });
    return error.find("ulimit -n") != error.npos ? 0 : 7;
}
int small_files() {
    limit(RLIMIT_FSIZE, 4096);
    errno = 0;
    const auto error = error_of([] {
        Parallel({.n_jobs = 1, .backend = "processes"})(
            joblot::delayed(size_of)(joblot::broadcast(std::vector<char>(1U << 20))));
    });
    return error.find("ulimit -f") != error.npos ? 0 : 8;
}

std::vector<char> close_all(const std::string& file) {
    ::closefrom(3);
    for (int i = 0; i != 8; ++i) { // whatever number of ours it is that is written to
        const int mine = ::open(file.c_str(), O_RDWR | O_CREAT, 0600);
        if (::write(mine, "mine", 4) != 4) std::_Exit(1);
        ::lseek(mine, 0, SEEK_SET);
    }
    return std::vector<char>(1U << 20, 'x');
}
int closing_task() {
    char file[] = "/tmp/joblot-test-XXXXXX";
    ::close(::mkstemp(file));
    const auto error = error_of(
        [&] { Parallel({.n_jobs = 1, .backend = "processes"})(joblot::delayed(close_all)(std::string(file))); });
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    ::unlink(file);
    if (text.str() != "mine") return 9;
    if (error.find("closed descriptors") == error.npos) std::fprintf(stderr, "%s\n", error.c_str());
    return error.find("closed descriptors") != error.npos ? 0 : 10;
}

int close_some(int i) {
    if (i == 13) ::closefrom(3);
    return i;
}
/// It is that task's failure, whatever it shares a batch with.
int one_closing_task() {
    using joblot::processes, joblot::start_method;
    for (const auto how : {start_method::spawn, start_method::fork}) {
        const Parallel p({.n_jobs = 2, .backend = processes{.start_method = how}, .batch_size = 10});
        const auto all = p.outcomes(std::views::iota(0, 30) | std::views::transform(joblot::delayed(close_some)));
        for (const auto& one : all) {
            const int i = static_cast<int>(one.index());
            if (one.has_value() ? one.value() != i : i != 13) return 11;
            if (i == 13 && (one.has_value() || one.message().find("closed descriptors") == std::string::npos))
                return 12;
        }
    }
    return 0;
}

int play(const std::string& role) {
    if (role == "start without") return start_without_standard();
    if (role == "without") return without_standard();
    if (role == "closes") return closes_standard();
    if (role == "few") return few_files();
    if (role == "small") return small_files();
    if (role == "one closing") return one_closing_task();
    return closing_task();
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (argc > 1) return play(argv[1]);
    for (const char* const role : {"start without", "closes", "few", "small", "closing", "one closing"}) {
        program::started parent(role);
        const int end = program::end_of(parent.pid());
        program::require(end == 0, std::string(role) + " ended with " + std::to_string(end));
    }
}

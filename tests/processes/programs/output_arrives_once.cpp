// SPDX-License-Identifier: BSL-1.0
// What tasks write through C and C++ streams arrives, and once: also with sync_with_stdio(false), and where a task then
// dies; and what the program itself had not written yet when workers were forked is not written by them.

#include "program.hpp"

#include <csignal>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

namespace {

using joblot::Parallel;

std::FILE* record = nullptr; // a file of the program's, with a line that is not written yet

void write_lines(int i) {
    std::cout << "cout " << i << '\n';
    std::clog << "clog " << i << '\n';
    std::wcout << L"wcout " << i << L'\n';
    std::printf("printf %d\n", i);
    std::cout << "partial " << i; // its end comes with the task's end at the latest
    std::cout << '\n';
    if (record) std::fprintf(record, "recorded %d\n", i);
}
void write_and_die(int i) {
    std::cout << "last words " << i << '\n';
    if (i == 0) std::signal(SIGSEGV, SIG_DFL), std::raise(SIGSEGV);
    if (i == 1) ::_exit(3);
    if (i == 2) std::raise(SIGKILL);
}
void unsync_and_die(int i) {
    if (i == 0) std::ios::sync_with_stdio(false);
    std::cout << "late " << i << '\n';
    if (i == 1) std::raise(SIGKILL);
}

/// @param how "spawn" or "fork", and "synced" or not.
int play(const std::string& how) {
    const bool forked = how.starts_with("fork");
    joblot::processes backend{.start_method = forked ? joblot::start_method::fork : joblot::start_method::spawn};
    if (forked) record = std::fopen("record", "w");
    if (record) std::fputs("own record\n", record);
    std::cout << "own cout\n";
    std::clog << "own clog\n";
    std::printf("own printf\n");
    const Parallel p({.n_jobs = 2, .backend = backend, .batch_size = 1});
    const Parallel one({.n_jobs = 1, .backend = backend, .batch_size = 1});
    p.map(write_lines, std::views::iota(0, 4));
    for (int i = 0; i != 3; ++i) {
        try {
            p.map(write_and_die, std::views::iota(i, i + 1));
            return 1;
        } catch (const joblot::worker_crashed&) {
        }
    }
    try {
        one.map(unsync_and_die, std::views::iota(0, 2));
        return 1;
    } catch (const joblot::worker_crashed&) {
    }
    return 0;
}

std::string content_of(const std::string& name) {
    std::ifstream in(name);
    return {std::istreambuf_iterator<char>(in), {}};
}

void require_once(const std::string& text, const std::string& line, const std::string& how) {
    std::size_t n = 0;
    for (auto at = text.find(line + "\n"); at != text.npos; at = text.find(line + "\n", at + 1)) ++n;
    program::require(n == 1, how + ": \"" + line + "\" came " + std::to_string(n) + " times in:\n" + text);
}

void watch(const std::string& how) {
    char folder[] = "/tmp/joblot-output-XXXXXX";
    program::require(::mkdtemp(folder) && ::chdir(folder) == 0, "mkdtemp");
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::dup2(::open("out", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600), STDOUT_FILENO);
        ::dup2(STDOUT_FILENO, STDERR_FILENO);
        ::execl("/proc/self/exe", "joblot-test-role", how.c_str(), static_cast<char*>(nullptr));
        ::_exit(98);
    }
    program::require(program::end_of(pid) == 0, how + ": the program failed");
    const std::string text = content_of("out");
    for (const char* const own : {"own cout", "own clog", "own printf"}) require_once(text, own, how);
    for (const std::string stream : {"cout ", "clog ", "printf ", "partial "}) {
        for (int i = 0; i != 4; ++i) {
            const std::string line = stream + std::to_string(i);
            require_once("\n" + text, "\n" + line, how);
        }
    }
    for (int i = 0; i != 3; ++i) require_once(text, "last words " + std::to_string(i), how);
    for (int i = 0; i != 2; ++i) require_once(text, "late " + std::to_string(i), how);
    if (how == "fork") {
        for (int i = 0; i != 4; ++i) require_once(text, "wcout " + std::to_string(i), how);
    }
    if (how.starts_with("fork")) {
        const std::string recorded = content_of("record");
        require_once(recorded, "own record", how);
        for (int i = 0; i != 4; ++i) require_once(recorded, "recorded " + std::to_string(i), how);
    }
    for (const char* const file : {"out", "record"}) ::unlink(file);
    program::require(::chdir("/") == 0 && ::rmdir(folder) == 0, "rmdir");
}

} // namespace

int main(int argc, char** argv) {
    const std::string role = argc > 1 ? argv[1] : "";
    if (!role.ends_with("synced")) std::ios::sync_with_stdio(false); // workers come by here, too
    joblot::init(argc, argv);
    program::watchdog();
    if (!role.empty()) return play(role);
    for (const char* const how : {"spawn", "fork", "fork-synced"}) watch(how);
}

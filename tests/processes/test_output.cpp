// SPDX-License-Identifier: BSL-1.0
// What workers write to stdout and stderr arrives in whole lines, all of it, before the call returns; and progress
// counts the tasks inside of big batches.

#include "../support/child.hpp"
#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <poll.h>

#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;

constexpr int writers = 4;
constexpr int lines_each = 200;

std::string long_line(int writer, int number) {
    return "line " + std::to_string(number) + " of " + std::to_string(writer) + ": " +
           std::string(static_cast<std::size_t>(100 + 37 * number), static_cast<char>('a' + writer)) + "|";
}

/// Writes each line in three pieces, so that it is not whole by chance.
void write_in_pieces(int descriptor, const std::string& line) {
    const std::size_t third = line.size() / 3;
    for (const std::string& piece : {line.substr(0, third), line.substr(third, third), line.substr(2 * third) + "\n"}) {
        for (std::size_t at = 0; at != piece.size();) {
            const auto n = ::write(descriptor, piece.data() + at, piece.size() - at);
            if (n < 0) throw std::runtime_error("cannot write");
            at += static_cast<std::size_t>(n);
        }
        std::this_thread::yield();
    }
}
int writes_lines(int writer, int descriptor, const std::string& dir) {
    support::meet(dir, writer, writers);
    for (int i = 0; i != lines_each; ++i) write_in_pieces(descriptor, long_line(writer, i));
    return writer;
}

/// Sends one of this process's descriptors elsewhere for as long as it lives.
class redirected {
public:
    redirected(int number, int to) : number_(number), saved_(::fcntl(number, F_DUPFD_CLOEXEC, 10)) {
        std::fflush(nullptr);
        std::cout.flush();
        ::dup2(to, number);
        ::close(to);
    }
    ~redirected() {
        std::fflush(nullptr);
        ::dup2(saved_, number_);
        ::close(saved_);
    }
    redirected(const redirected&) = delete;
    redirected& operator=(const redirected&) = delete;

private:
    int number_, saved_;
};

int new_file(const std::string& name) { return ::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666); }

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

/// Whether the text holds every writer's lines, each whole, in the writer's order.
bool has_all_lines_whole(const std::string& text) {
    std::vector<int> next(writers, 0);
    for (const std::string& line : lines_of(text)) {
        if (line.empty() || line.back() != '|' || line.size() < 2) return false;
        const int writer = line[line.size() - 2] - 'a';
        if (writer < 0 || writer >= writers) return false;
        if (line != long_line(writer, next[static_cast<std::size_t>(writer)]++)) return false;
    }
    return next == std::vector<int>(writers, lines_each);
}

std::vector<int> let_them_write(int descriptor, const std::string& dir) {
    return Parallel({.n_jobs = writers, .backend = "processes", .batch_size = 1})(
        views::iota(0, writers) |
        views::transform([&](int writer) { return delayed(writes_lines)(writer, descriptor, dir); }));
}

int says_hello(int i) {
    std::printf("hello from printf %d\n", i);
    std::cout << "hello from cout " << i << '\n';
    std::fprintf(stderr, "hello from stderr %d\n", i);
    return i;
}

int speaks_for_long(int i) {
    for (int line = 0; line != 3000; ++line) std::printf("%s\n", long_line(0, 20).c_str());
    return i;
}
bool is_full(int descriptor) {
    pollfd entry{descriptor, POLLOUT, 0};
    return ::poll(&entry, 1, 0) == 0;
}

bool has_line(const std::string& text, const std::string& line) {
    const auto lines = lines_of(text);
    return std::ranges::count(lines, line) == 1;
}

} // namespace

TEST_CASE("lines that workers write to a file are never torn", "[output]") {
    const int descriptor = GENERATE(STDOUT_FILENO, STDERR_FILENO);
    const support::scratch_dir dir;
    {
        const redirected to_file(descriptor, new_file(dir.file("lines")));
        let_them_write(descriptor, dir.path());
    }
    CHECK(has_all_lines_whole(support::read_all(dir.file("lines"))));
}

TEST_CASE("lines that workers write to a pipe with a slow reader are never torn", "[output]") {
    const int descriptor = GENERATE(STDOUT_FILENO, STDERR_FILENO);
    const support::scratch_dir dir;
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    std::string text;
    std::jthread reader([&] {
        std::string piece(3000, '\0');
        for (ssize_t n = 0; (n = ::read(pipe[0], piece.data(), piece.size())) > 0;) {
            text.append(piece, 0, static_cast<std::size_t>(n));
            std::this_thread::sleep_for(20us);
        }
    });
    {
        const redirected to_pipe(descriptor, pipe[1]);
        let_them_write(descriptor, dir.path());
    }
    reader.join();
    ::close(pipe[0]);
    CHECK(has_all_lines_whole(text));
}

TEST_CASE("what a task wrote is there when the call returns, however it was written", "[output]") {
    const support::scratch_dir dir;
    {
        const redirected out(STDOUT_FILENO, new_file(dir.file("out")));
        const redirected err(STDERR_FILENO, new_file(dir.file("err")));
        Parallel({.n_jobs = 2, .backend = "processes"}).map(says_hello, views::iota(0, 20));
        const std::string out_text = support::read_all(dir.file("out"));
        const std::string err_text = support::read_all(dir.file("err"));
        for (int i = 0; i != 20; ++i) {
            CHECK(has_line(out_text, "hello from printf " + std::to_string(i)));
            CHECK(has_line(out_text, "hello from cout " + std::to_string(i)));
            CHECK(has_line(err_text, "hello from stderr " + std::to_string(i)));
        }
    }
}

TEST_CASE("a child that is forked while lines wait for their reader has workers that speak", "[output][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const joblot::processes workers{.start_method = GENERATE(joblot::start_method::fork, joblot::start_method::spawn)};
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    std::string ended;
    {
        const redirected to_pipe(STDOUT_FILENO, pipe[1]); // nobody reads it for now
        std::jthread caller(
            [&] { Parallel({.n_jobs = 1, .backend = workers}).map(speaks_for_long, views::iota(0, 1)); });
        support::eventually([] { return is_full(STDOUT_FILENO); });
        std::this_thread::sleep_for(50ms); // the relay waits in the middle of its lines by now
        ended = support::run_in_child([&] {
            ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
            Parallel({.n_jobs = 1, .backend = workers}).map(says_hello, views::iota(0, 1));
            return true;
        });
        std::string piece(1U << 16, '\0');
        const std::jthread reader([&] {
            while (::read(pipe[0], piece.data(), piece.size()) > 0) {
            }
        });
        caller.join();
        ::close(STDOUT_FILENO); // the last writer: the reader ends
    }
    ::close(pipe[0]);
    CHECK(ended == "");
}

TEST_CASE("what a task wrote before it died arrives, too", "[output][crash]") {
    const support::scratch_dir dir;
    const auto speaks_and_dies = [](int i) {
        says_hello(i);
        std::printf("not a whole line");
        std::fflush(stdout);
        ::_exit(1);
    };
    {
        const redirected out(STDOUT_FILENO, new_file(dir.file("out")));
        CHECK_THROWS_AS(Parallel({.n_jobs = 1, .backend = "processes"}).map(speaks_and_dies, views::iota(0, 1)),
                        joblot::worker_crashed);
    }
    const std::string text = support::read_all(dir.file("out"));
    CHECK(has_line(text, "hello from printf 0"));
    CHECK(has_line(text, "not a whole line"));
}

TEST_CASE("forked workers' lines arrive, and what this process had not written yet does not come twice",
          "[output][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const support::scratch_dir dir;
    {
        const redirected out(STDOUT_FILENO, new_file(dir.file("out")));
        std::printf("written by the owner\n"); // to a file: stays in the buffer
        Parallel({.n_jobs = 2, .backend = joblot::processes{.start_method = joblot::start_method::fork}})
            .map([](int i) { return says_hello(i); }, views::iota(0, 6));
    }
    const std::string text = support::read_all(dir.file("out"));
    CHECK(has_line(text, "written by the owner"));
    for (int i = 0; i != 6; ++i) {
        CHECK(has_line(text, "hello from printf " + std::to_string(i)));
        CHECK(has_line(text, "hello from cout " + std::to_string(i)));
    }
}

TEST_CASE("progress counts the tasks inside of big batches", "[progress]") {
    std::vector<std::size_t> done;
    const auto slow = [](int i) {
        std::this_thread::sleep_for(20ms);
        return i;
    };
    Parallel({.n_jobs = 2,
              .backend = "processes",
              .progress = [&](const joblot::progress_event& e) { done.push_back(e.done); },
              .batch_size = 20})
        .map(slow, views::iota(0, 40));
    REQUIRE(!done.empty());
    CHECK(done.back() == 40);
    CHECK(std::ranges::is_sorted(done));
    // each task is longer than a worker keeps news back: batches alone would give two events
    const std::set<std::size_t> different(done.begin(), done.end());
    CHECK(different.size() >= 20);
}

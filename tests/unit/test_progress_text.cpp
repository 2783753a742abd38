// SPDX-License-Identifier: BSL-1.0
// joblib's lines, letter for letter, and the sink that takes them to stderr.
#include <joblot/progress/stderr_sink.hpp>
#include <joblot/progress/text.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cerrno>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>

using namespace joblot;
using namespace joblot::detail;

namespace {

using seconds = std::chrono::duration<double>;

progress_event event(std::size_t done, std::optional<std::size_t> total, double elapsed,
                     std::optional<double> remaining = {}, progress_state state = progress_state::running) {
    progress_event e;
    e.done = done;
    e.total = total;
    e.elapsed = seconds(elapsed);
    if (remaining) e.remaining = seconds(*remaining);
    e.state = state;
    return e;
}

} // namespace

TEST_CASE("times are printed as joblib prints them", "[progress]") {
    CHECK(format_time(0) == "   0.0s");
    CHECK(format_time(0.04) == "   0.0s");
    CHECK(format_time(0.25) == "   0.2s"); // half to even, as C and Python round
    CHECK(format_time(9.95) == "   9.9s"); // the double is a little below
    CHECK(format_time(59.96) == "  60.0s");
    CHECK(format_time(60.0) == "  60.0s");
    CHECK(format_time(60.1) == " 1.0min");
    CHECK(format_time(65) == " 1.1min");
    CHECK(format_time(600) == "10.0min");
    CHECK(format_time(3600) == "60.0min");
    CHECK(format_time(360'000) == "6000.0min");
}

TEST_CASE("times that are no times do no harm", "[progress]") {
    CHECK(format_time(-1) == "   0.0s");
    CHECK(format_time(std::numeric_limits<double>::quiet_NaN()) == "   0.0s");
    CHECK(format_time(std::numeric_limits<double>::infinity()).ends_with("min"));
    CHECK(format_time(std::numeric_limits<double>::max()).size() < 40);
}

TEST_CASE("the user's locale does not reach the lines", "[progress]") {
    const char* found = nullptr;
    for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"})
        if (found == nullptr) found = std::setlocale(LC_ALL, name);
    CHECK(format_time(1.5) == "   1.5s");
    std::setlocale(LC_ALL, "C");
}

TEST_CASE("widths follow a total known beforehand", "[progress]") {
    CHECK(count_width(std::nullopt) == 3);
    CHECK(count_width(0) == 3);
    CHECK(count_width(9) == 1);
    CHECK(count_width(10) == 2);
    CHECK(count_width(99'999) == 5);
}

TEST_CASE("the lines of a call", "[progress]") {
    CHECK(line_prefix(2) == "[Parallel(n_jobs=2)]: ");
    CHECK(line_prefix(-1) == "[Parallel(n_jobs=-1)]: ");
    CHECK(backend_line("ThreadingBackend", 4) == "Using backend ThreadingBackend with 4 concurrent workers.");
    CHECK(progress_line(event(1, {}, 0.3), 3) == "Done   1 tasks      | elapsed:    0.3s");
    CHECK(progress_line(event(1234, {}, 0.3), 3) == "Done 1234 tasks      | elapsed:    0.3s");
    CHECK(progress_line(event(4, 10, 0.4, 0.6), 3) == "Done   4 out of  10 | elapsed:    0.4s remaining:    0.6s");
    CHECK(progress_line(event(4, 10, 0.4, 0.6), 2) == "Done  4 out of 10 | elapsed:    0.4s remaining:    0.6s");
    CHECK(progress_line(event(4, 10, 0.4), 2) == "Done  4 out of 10 | elapsed:    0.4s");
    CHECK(progress_line(event(10, 10, 0.5, 0, progress_state::finished), 3) ==
          "Done  10 out of  10 | elapsed:    0.5s finished");
    CHECK(progress_line(event(4, 10, 125, {}, progress_state::failed), 2) ==
          "Done  4 out of 10 | elapsed:  2.1min failed");
    CHECK(progress_line(event(7, {}, 0.5, {}, progress_state::failed), 3) ==
          "Done   7 tasks      | elapsed:    0.5s failed");
    CHECK(progress_line(event(7, {}, 0.5, {}, progress_state::cancelled), 3) ==
          "Done   7 tasks      | elapsed:    0.5s cancelled");
    CHECK(progress_line(event(0, 0, 0, {}, progress_state::finished), 3) ==
          "Done   0 out of   0 | elapsed:    0.0s finished");
}

TEST_CASE("progress_text writes the line of an event, and nothing where there is none", "[progress]") {
    std::ostringstream out;
    const progress_text text(out);
    progress_event e = event(1, 2, 0);
    text(e);
    CHECK(out.str().empty());
    e.line = "a line\n";
    text(e);
    text(e);
    CHECK(out.str() == "a line\na line\n");
}

TEST_CASE("a closed reader neither ends the program nor changes errno", "[progress]") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    REQUIRE(std::signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    errno = 42;
    write_descriptor(ends[1], "into the void\n");
    CHECK(errno == 42);
    sigset_t pending;
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGPIPE) == 0);
    ::close(ends[1]);
    write_descriptor(ends[1], "to a closed descriptor\n");
    CHECK(errno == 42);
}

TEST_CASE("a slow reader of a non-blocking pipe gets the whole text", "[progress]") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    REQUIRE(::fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    std::string received;
    std::thread reader([&] {
        char buffer[4096];
        for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
            received.append(buffer, static_cast<std::size_t>(n));
    });
    const std::string text(1'000'000, 'x');
    write_descriptor(ends[1], text);
    ::close(ends[1]);
    reader.join();
    ::close(ends[0]);
    CHECK(received == text);
}

// SPDX-License-Identifier: BSL-1.0
// The bar: its rendering at every width, how often it is redrawn, and a real pseudo-terminal.
#include <joblot/progress/bar.hpp>
#include <joblot/progress/reporter.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <termios.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace joblot;
using namespace joblot::detail;

namespace {

using seconds = std::chrono::duration<double>;

progress_event event(std::size_t done, std::optional<std::size_t> total, double elapsed,
                     progress_state state = progress_state::running, std::string_view label = "simulate") {
    progress_event e;
    e.done = done;
    e.total = total;
    e.elapsed = seconds(elapsed);
    if (total && done > 0) e.remaining = e.elapsed / static_cast<double>(done) * static_cast<double>(*total - done);
    e.state = state;
    e.label = label;
    return e;
}

/// What a bar writes, instead of stderr.
struct recording {
    std::vector<std::string> writes;
    int width = 80;
    progress_bar bar(bool terminal) {
        return progress_bar(
            {terminal, [this] { return width; }, [this](std::string_view text) { writes.emplace_back(text); }});
    }
};

/// A pseudo-terminal in the place of stderr for as long as this lives.
class terminal {
public:
    explicit terminal(unsigned short columns) {
        master_ = ::posix_openpt(O_RDWR | O_NOCTTY);
        if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) throw std::runtime_error("no pty");
        const int slave = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
        if (slave < 0) throw std::runtime_error("no pty slave");
        termios mode{};
        ::tcgetattr(slave, &mode);
        mode.c_oflag &= ~static_cast<tcflag_t>(OPOST); // the bytes as they were written
        ::tcsetattr(slave, TCSANOW, &mode);
        const winsize size{24, columns, 0, 0};
        ::ioctl(slave, TIOCSWINSZ, &size);
        stderr_ = ::dup(STDERR_FILENO);
        ::dup2(slave, STDERR_FILENO);
        ::close(slave);
        reader_ = std::thread([this] {
            char buffer[1024];
            for (ssize_t n = 0; (n = ::read(master_, buffer, sizeof buffer)) > 0;) // ends with EIO at the last close
                received_.append(buffer, static_cast<std::size_t>(n));
        });
    }
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;
    ~terminal() {
        if (reader_.joinable()) hang_up();
    }

    /// Puts stderr back and gives what was written.
    std::string hang_up() {
        ::dup2(stderr_, STDERR_FILENO);
        ::close(stderr_);
        reader_.join();
        ::close(master_);
        return received_;
    }

private:
    int master_ = -1;
    int stderr_ = -1;
    std::string received_; // by reader_ until it has ended
    std::thread reader_;
};

} // namespace

TEST_CASE("short times", "[progress]") {
    CHECK(short_time(0) == "0.0s");
    CHECK(short_time(59.94) == "59.9s");
    CHECK(short_time(59.96) == "1m00s");
    CHECK(short_time(65) == "1m05s");
    CHECK(short_time(3599.6) == "1h00m");
    CHECK(short_time(7380) == "2h03m");
    CHECK(short_time(-1) == "0.0s");
    CHECK_FALSE(short_time(1e300).empty());
}

TEST_CASE("rates keep about three digits", "[progress]") {
    CHECK(rate(event(0, 10, 1)).empty());
    CHECK(rate(event(1, 10, 0)).empty());
    CHECK(rate(event(1, 10, 4)) == "0.25 tasks/s");
    CHECK(rate(event(5, 10, 0.4)) == "12.5 tasks/s");
    CHECK(rate(event(680, 1000, 2)) == "340 tasks/s");
    CHECK(rate(event(24'600, {}, 2)) == "12.3k tasks/s");
    CHECK(rate(event(3'000'000, {}, 2)) == "1.5M tasks/s");
}

TEST_CASE("a percentage is 100 only when all is done", "[progress]") {
    CHECK(percent(event(0, 10, 0)) == "0%");
    CHECK(percent(event(999'999, 1'000'000, 0)) == "99%");
    CHECK(percent(event(10, 10, 0)) == "100%");
    CHECK(percent(event(0, 0, 0)) == "100%");
    constexpr auto huge = static_cast<std::size_t>(-1);
    CHECK(percent(event(huge - 1, huge, 0)) == "99%");
}

TEST_CASE("the bar with room for everything", "[progress]") {
    CHECK(render_bar(event(420, 1000, 2), 120) ==
          "simulate [===============>                      ]  42%  420/1000 | 2.0s, 2.8s left | 210 tasks/s");
    CHECK(render_bar(event(1000, 1000, 5, progress_state::finished), 120) ==
          "simulate [======================================] 100% 1000/1000 finished | 5.0s | 200 tasks/s");
    CHECK(render_bar(event(0, 1000, 0), 79) ==
          "simulate [>                                     ]   0%    0/1000 | 0.0s");
    CHECK(render_bar(event(3, 10, 1, progress_state::failed, ""), 79) ==
          "[===========>                          ]  30%  3/10 failed | 1.0s | 3.0 tasks/s");
}

TEST_CASE("without a total there is a counter that turns", "[progress]") {
    CHECK(render_bar(event(420, {}, 2), 79) == "simulate | 420 tasks | 2.0s | 210 tasks/s");
    CHECK(render_bar(event(420, {}, 2.1), 79).starts_with("simulate / 420 tasks"));
    CHECK(render_bar(event(420, {}, 2, progress_state::cancelled), 79) ==
          "simulate 420 tasks cancelled | 2.0s | 210 tasks/s");
}

TEST_CASE("a narrow terminal loses the least important first", "[progress]") {
    const progress_event e = event(420, 1000, 2);
    CHECK(render_bar(e, 60) == "simulate [======>         ]  42%  420/1000 | 2.0s, 2.8s left");
    CHECK(render_bar(e, 40) == "simulate [=====>        ]  42%  420/1000");
    CHECK(render_bar(e, 27) == "[====>     ]  42%  420/1000");
    CHECK(render_bar(e, 15) == " 42%  420/1000");
    CHECK(render_bar(e, 5) == " 420/");
}

TEST_CASE("no line is ever wider than it may be", "[progress]") {
    std::size_t wider = 0;
    for (std::size_t width = 1; width < 200; ++width)
        for (const std::string_view label : {"", "f", "a rather long label of a rather long call", "größe\n\x1b[2J"})
            for (const auto state : {progress_state::running, progress_state::cancelled})
                for (const std::optional<std::size_t> total : {std::optional<std::size_t>{}, {7}, {123'456'789}}) {
                    const std::string line = render_bar(event(7, total, 4000, state, label), width);
                    if (columns(line) > width || line.find_first_of("\r\n\x1b") != std::string::npos) ++wider;
                }
    CHECK(wider == 0);
}

TEST_CASE("labels are shown by character and without control codes", "[progress]") {
    CHECK(printable("größe", 3) == "grö");
    CHECK(columns("größe") == 5);
    CHECK(printable("a\tb\x1b[2J\x7f", 99) == "a?b?[2J?");
}

TEST_CASE("a terminal's line is redrawn ten times a second at most, first and last always", "[progress]") {
    recording r;
    const progress_bar bar = r.bar(true);
    const progress_bar copy = bar; // copies share the one line
    for (std::size_t done = 0; done < 10'000; ++done) copy(event(done, 10'000, static_cast<double>(done) * 1e-4));
    CHECK(r.writes.size() == 10);
    bar(event(10'000, 10'000, 1.0, progress_state::finished));
    REQUIRE(r.writes.size() == 11);
    CHECK(r.writes.front().starts_with("\rsimulate [>"));
    CHECK(r.writes.back().starts_with("\rsimulate [=="));
    CHECK(std::ranges::count_if(r.writes, [](auto& w) { return w.find('\n') != w.npos; }) == 1);
    CHECK(r.writes.back().ends_with('\n'));
    SECTION("and the bar can be used again") {
        copy(event(0, 5, 0));
        CHECK(r.writes.size() == 12);
    }
}

TEST_CASE("a shorter line wipes the longer one before it", "[progress]") {
    recording r;
    const progress_bar bar = r.bar(true);
    bar(event(5, {}, 1, progress_state::running, "a long label here"));
    bar(event(5, {}, 2, progress_state::running, ""));
    CHECK(columns(r.writes[0]) == columns(r.writes[1]));
    r.width = 10; // a window made smaller: nothing is written beyond its edge
    bar(event(5, {}, 3, progress_state::running, ""));
    CHECK(columns(r.writes[2]) <= 10);
}

TEST_CASE("elsewhere there is a line every five seconds and one at the end", "[progress]") {
    recording r;
    const progress_bar bar = r.bar(false);
    for (std::size_t i = 0; i <= 120; ++i) bar(event(i, 121, static_cast<double>(i) * 0.1));
    bar(event(121, 121, 12.1, progress_state::finished));
    CHECK(r.writes == std::vector<std::string>{
                          "simulate: 50/121 (41%), elapsed 5.0s, remaining 7.1s, 10.0 tasks/s\n",
                          "simulate: 100/121 (82%), elapsed 10.0s, remaining 2.1s, 10.0 tasks/s\n",
                          "simulate: 121/121 (100%), elapsed 12.1s, 10.0 tasks/s, finished\n",
                      });
}

TEST_CASE("on a real terminal: redraws of one line, then its final state", "[progress]") {
    terminal tty(72);
    constexpr std::size_t total = 1000;
    std::chrono::steady_clock::time_point time{};
    progress_config config;
    config.total = total;
    config.callback = progress_bar();
    config.label = [] { return "crc"; };
    config.clock = [&time] { return time; };
    progress_reporter reporter(std::move(config));
    reporter.start();
    for (std::size_t i = 0; i < total; ++i) {
        time += std::chrono::milliseconds(1);
        reporter.add(1);
    }
    reporter.finish(progress_state::finished);
    const std::string seen = tty.hang_up();
    const auto redraws = std::ranges::count(seen, '\r'); // one second: at 0, after each tenth, at the end
    CHECK(redraws >= 10);
    CHECK(redraws <= 12);
    CHECK(std::ranges::count(seen, '\n') == 1);
    const std::string last = seen.substr(seen.rfind('\r') + 1);
    CHECK(last.starts_with("crc [=========="));
    CHECK(last.find("] 100% 1000/1000 finished | 1.0s") != std::string::npos);
    CHECK(last.ends_with('\n'));
    std::size_t widest = 0;
    for (std::size_t at = 0; at < seen.size(); at = seen.find('\r', at + 1))
        widest = std::max(widest, seen.find_first_of("\r\n", at + 1) - at - 1);
    CHECK(widest <= 71);
}

TEST_CASE("a stderr that is no terminal gets plain lines", "[progress]") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const int before = ::dup(STDERR_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
    const progress_bar bar;
    bar(event(0, 2, 0));
    bar(event(2, 2, 1, progress_state::finished));
    ::dup2(before, STDERR_FILENO);
    ::close(before);
    char buffer[200];
    const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
    ::close(ends[0]);
    CHECK(std::string_view(buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))) ==
          "simulate: 2/2 (100%), elapsed 1.0s, 2.0 tasks/s, finished\n");
}

// SPDX-License-Identifier: BSL-1.0
// `progress_bar()`: a callback that keeps one line of a terminal up to date, and writes a line now and then elsewhere.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/progress/event.hpp>
#include <joblot/progress/stderr_sink.hpp>
#include <joblot/progress/text.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace joblot {

namespace detail {

/// `0.3s`, `59.9s`, `1m05s`, `2h03m`.
inline std::string short_time(double seconds) {
    if (!(seconds >= 59.95)) return fixed_decimals(seconds, 1) + "s";
    const auto whole = static_cast<unsigned long long>(std::min(seconds, 1e15) + 0.5);
    const auto two_digits = [](unsigned long long n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    if (whole < 3600) return std::to_string(whole / 60) + "m" + two_digits(whole % 60) + "s";
    return std::to_string(whole / 3600) + "h" + two_digits(whole / 60 % 60) + "m";
}

/// `0.25 tasks/s`, `12.5 tasks/s`, `340 tasks/s`, `12.3k tasks/s`, `1.5M tasks/s`; nothing before a task is done.
inline std::string rate(const progress_event& event) {
    const double seconds = event.elapsed.count();
    if (event.done == 0 || !(seconds > 0)) return "";
    const double per_second = static_cast<double>(event.done) / seconds;
    std::string number;
    if (per_second >= 999.5e3)
        number = fixed_decimals(per_second / 1e6, 1) + "M";
    else if (per_second >= 9999.5)
        number = fixed_decimals(per_second / 1e3, 1) + "k";
    else
        number = fixed_decimals(per_second, per_second >= 99.95 ? 0 : per_second >= 0.995 ? 1 : 2);
    return number + " tasks/s";
}

/// Share done, 0 to 1; a call without tasks is complete.
inline double fraction(const progress_event& event) noexcept {
    if (!event.total || *event.total == 0) return 1;
    return std::min(1.0, static_cast<double>(event.done) / static_cast<double>(*event.total));
}

/// `37%`; never 100 before the last task is done.
inline std::string percent(const progress_event& event) {
    const int whole = static_cast<int>(fraction(event) * 100);
    return std::to_string(event.done < event.total.value_or(0) ? std::min(whole, 99) : whole) + "%";
}

/// ` 370/1000`, as wide as it will ever be so that the line does not wobble; `370 tasks` without a total.
inline std::string counts(const progress_event& event) {
    if (!event.total) return std::to_string(event.done) + " tasks";
    const std::string total = std::to_string(*event.total);
    return right_aligned(event.done, total.size()) + "/" + total;
}

inline bool continues_character(char byte) noexcept { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// Columns that `text` (UTF-8) takes, at one for each character.
inline std::size_t columns(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return !continues_character(c); }));
}

/// At most `limit` columns of `text`, its control characters (which would move the cursor) as `?`.
inline std::string printable(std::string_view text, std::size_t limit) {
    std::string out;
    std::size_t used = 0;
    for (const char c : text) {
        if (!continues_character(c) && ++used > limit) break;
        const auto byte = static_cast<unsigned char>(c);
        out += byte < 0x20 || byte == 0x7F ? '?' : c;
    }
    return out;
}

/// `[=====>    ]` in `width` columns, of which two are the brackets.
inline std::string gauge(double share, std::size_t width) {
    const std::size_t inside = width - 2;
    const auto filled = std::min(inside, static_cast<std::size_t>(share * static_cast<double>(inside)));
    std::string bar(inside, ' ');
    std::fill_n(bar.begin(), filled, '=');
    if (filled < inside) bar[filled] = '>';
    return "[" + bar + "]";
}

/// One of four strokes, turning at the pace of the redraws.
inline std::string spinner(double seconds) {
    return std::string(1, "|/-\\"[static_cast<std::size_t>(std::clamp(seconds, 0.0, 1e9) * 10) % 4]);
}

/// One line, without its end, of at most `width` columns: label, bar, percent, counts, times, rate, closing word.
/// What does not fit is left out, the least important first: rate, times, label, bar, percent.
inline std::string render_bar(const progress_event& event, std::size_t width) {
    constexpr std::size_t shortest_gauge = 10;
    constexpr std::size_t longest_gauge = 40;
    constexpr std::size_t longest_label = 30;
    const bool running = event.state == progress_state::running;
    const std::string share = event.total ? right_aligned(percent(event), 4) : std::string();
    std::string times = short_time(event.elapsed.count());
    if (running && event.remaining) times += ", " + short_time(event.remaining->count()) + " left";

    std::string line = counts(event); // grows on both sides by what there is room for
    const auto fits = [&](std::size_t more) { return columns(line) + more <= width; };
    const auto append = [&](std::string_view part, std::string_view gap) {
        if (!part.empty() && fits(columns(part) + gap.size())) line.append(gap).append(part);
    };
    const auto prepend = [&](const std::string& part) {
        if (!part.empty() && fits(columns(part) + 1)) line = part + " " + line;
    };
    append(state_word(event.state), " ");
    prepend(share);
    const std::size_t reserved = event.total ? shortest_gauge + 1 : 0;
    const std::string label = printable(event.label, longest_label);
    const bool with_label = !label.empty() && fits(reserved + columns(label) + 1);
    const std::size_t label_room = with_label ? columns(label) + 1 : 0;
    if (fits(reserved + label_room + columns(times) + 3)) append(times, " | ");
    if (fits(reserved + label_room + columns(rate(event)) + 3)) append(rate(event), " | ");
    if (event.total && fits(reserved + label_room))
        prepend(gauge(fraction(event), std::min(longest_gauge, width - columns(line) - label_room - 1)));
    else if (!event.total && running)
        prepend(spinner(event.elapsed.count()));
    if (with_label) prepend(label);
    return printable(line, width);
}

/// The same facts for a log: no bar, no limit.
inline std::string render_plain(const progress_event& event) {
    std::string line = printable(event.label, event.label.size());
    if (!line.empty()) line += ": ";
    line += std::to_string(event.done) + (event.total ? "/" + std::to_string(*event.total) : " tasks");
    if (event.total) line += " (" + percent(event) + ")";
    line += ", elapsed " + short_time(event.elapsed.count());
    if (event.state == progress_state::running && event.remaining)
        line += ", remaining " + short_time(event.remaining->count());
    if (const std::string speed = rate(event); !speed.empty()) line += ", " + speed;
    if (event.state != progress_state::running) line.append(", ").append(state_word(event.state));
    return line;
}

/// Where a bar is drawn; the default is stderr.
struct bar_target {
    bool terminal = stderr_is_terminal();
    std::function<int()> width = stderr_columns; ///< columns, asked at each redraw as windows are resized
    line_sink write = write_stderr;              ///< given whole writes: a redraw, or a line
};

} // namespace detail

/// A progress callback that draws a bar: `Parallel({.progress = progress_bar()})`.
///
/// On a terminal it keeps one line up to date with label, bar, counts, elapsed and remaining time and rate, redrawn
/// when batches complete but at most ten times a second; the final state stays, on a line of its own. Where stderr
/// is no terminal it writes a plain line every five seconds at most and one at the end. Copies share one bar; calls
/// that run at the same time had better have a bar each. With `verbose` lines on the same terminal it would mix:
/// use one of the two. Thread-safe.
class progress_bar {
public:
    static constexpr double redraw_period = 0.1; ///< seconds between redraws on a terminal
    static constexpr double line_period = 5;     ///< seconds between lines elsewhere

    progress_bar() : progress_bar(detail::bar_target{}) {}
    /// For output elsewhere, such as a test's.
    explicit progress_bar(detail::bar_target target) : state_(std::make_shared<state>(std::move(target))) {}

    void operator()(const progress_event& event) const {
        const std::scoped_lock lock(state_->mutex);
        if (event.elapsed.count() < state_->drawn_at) state_->forget(); // another call has begun
        if (!state_->due(event)) return;
        state_->drawn_at = event.elapsed.count();
        if (state_->target.terminal)
            state_->redraw(event);
        else
            state_->target.write(detail::render_plain(event) + "\n");
        if (event.state != progress_state::running) state_->forget();
    }

private:
    struct state {
        explicit state(detail::bar_target t) : target(std::move(t)) { forget(); }

        void forget() noexcept {
            drawn_at = target.terminal ? -redraw_period : 0; // a terminal shows the first event at once
            drawn_columns = 0;
        }

        bool due(const progress_event& event) const noexcept {
            const double period = target.terminal ? redraw_period : line_period;
            return event.state != progress_state::running || event.elapsed.count() - drawn_at >= period;
        }

        void redraw(const progress_event& event) {
            // One column stays free: a full line would wrap, and the next redraw would start below it.
            const auto width = static_cast<std::size_t>(std::max(target.width() - 1, 1));
            const std::string line = detail::render_bar(event, width);
            const std::size_t used = detail::columns(line);
            const std::size_t before = std::min(drawn_columns, width);
            std::string text = "\r" + line;
            if (used < before) text.append(before - used, ' '); // wipes the rest of a longer line
            if (event.state != progress_state::running) text += '\n';
            drawn_columns = used;
            target.write(text);
        }

        std::mutex mutex;
        const detail::bar_target target;
        double drawn_at = 0;           // seconds since the call began, of the last drawing
        std::size_t drawn_columns = 0; // of the last drawing
    };

    std::shared_ptr<state> state_;
};

} // namespace joblot

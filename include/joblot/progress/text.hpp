// SPDX-License-Identifier: BSL-1.0
// joblib's verbose lines as pure functions of an event, and `progress_text`, which sends them to a stream.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/progress/event.hpp>

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace joblot {

namespace detail {

/// Where lines go: called with one whole line, its newline included.
using line_sink = std::function<void(std::string_view line)>;

/// `text` right-aligned in `width` columns; a longer one is kept whole.
inline std::string right_aligned(std::string_view text, std::size_t width) {
    std::string out(width > text.size() ? width - text.size() : 0, ' ');
    return out.append(text);
}

inline std::string right_aligned(std::size_t count, std::size_t width) {
    return right_aligned(std::string_view(std::to_string(count)), width);
}

/// `value` with that many decimals, whatever the locale. Not a number and negative values count as 0.
inline std::string fixed_decimals(double value, int decimals) {
    constexpr double largest = 1e15; // far beyond any time or rate, far below what would overflow the buffer
    char buffer[40];
    const double bounded = value > 0 ? std::min(value, largest) : 0.0;
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, bounded, std::chars_format::fixed, decimals).ptr;
    return std::string(buffer, end);
}

/// A time as joblib prints it: `   9.9s`, above a minute `12.5min`; never hours.
inline std::string format_time(double seconds) {
    if (seconds > 60) return right_aligned(fixed_decimals(seconds / 60, 1), 4) + "min";
    return " " + right_aligned(fixed_decimals(seconds, 1), 5) + "s";
}

/// Columns of the counts: the digits of a total that is known before the call starts, else 3.
inline std::size_t count_width(std::optional<std::size_t> initial_total) {
    return initial_total && *initial_total > 0 ? std::to_string(*initial_total).size() : 3;
}

/// `[Parallel(n_jobs=2)]: `, with the number of jobs that the user asked for.
inline std::string line_prefix(int n_jobs) { return "[Parallel(n_jobs=" + std::to_string(n_jobs) + ")]: "; }

/// The line that opens a call, without prefix and newline.
inline std::string backend_line(std::string_view backend, int workers) {
    return std::string("Using backend ").append(backend) + " with " + std::to_string(workers) + " concurrent workers.";
}

inline std::string_view state_word(progress_state state) noexcept {
    switch (state) {
    case progress_state::running:
        break;
    case progress_state::finished:
        return "finished";
    case progress_state::failed:
        return "failed";
    case progress_state::cancelled:
        return "cancelled";
    }
    return "";
}

/// The line of one event, without prefix and newline: counts, elapsed time, and then either the remaining time
/// (where known) or, at the end, how the call ended.
inline std::string progress_line(const progress_event& event, std::size_t width) {
    std::string line = "Done " + right_aligned(event.done, width);
    if (event.total)
        line += " out of " + right_aligned(*event.total, width);
    else
        line.append(" tasks").append(2 + width, ' '); // as wide as "out of " and a total
    line += " | elapsed: " + format_time(event.elapsed.count());
    if (event.state != progress_state::running)
        line.append(" ").append(state_word(event.state));
    else if (event.remaining)
        line += " remaining: " + format_time(event.remaining->count());
    return line;
}

} // namespace detail

/// Sends a call's verbose lines to a stream instead of stderr:
/// `Parallel({.verbose = 10, .progress = progress_text(log)})`. Where no level is set, level 10 is taken.
///
/// The stream is flushed after each line and must outlive the call; two calls that run at the same time need two
/// streams. What the stream throws is ignored. Called from a callback of your own, it writes the lines there as
/// well as to stderr.
class progress_text {
public:
    static constexpr int default_verbose = 10;

    /// @param stream A `std::ostream`, or anything else with its `write(const char*, std::streamsize)` and `flush()`.
    // A template, so that a program without streams does not pay for <ostream>.
    template <class Stream>
        requires(!std::same_as<Stream, progress_text> && !std::is_const_v<Stream>)
    explicit progress_text(Stream& stream) noexcept
        : stream_(&stream), write_([](void* to, std::string_view line) {
              auto& out = *static_cast<Stream*>(to);
              out.write(line.data(), static_cast<std::ptrdiff_t>(line.size()));
              out.flush();
          }) {}

    void operator()(const progress_event& event) const { write(event.line); }

    /// Writes one line, which brings its own newline; nothing if it is empty.
    void write(std::string_view line) const {
        if (!line.empty()) write_(stream_, line);
    }

private:
    void* stream_;
    void (*write_)(void*, std::string_view);
};

} // namespace joblot

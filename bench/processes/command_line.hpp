// SPDX-License-Identifier: BSL-1.0
// The command line that the benchmark programs of processes and clusters share, and their clock.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace bench {

struct parameters {
    std::string kind;         ///< which case
    std::size_t tasks = 1000; ///< tasks in a call
    std::size_t batch = 0;    ///< `batch_size`; 0: auto
    std::size_t bytes = 0;    ///< of an argument
    int workers = 2;
    int reps = 3;               ///< measured repetitions; one more before them is not counted
    int in_flight = 1;          ///< messages that are under way at once
    std::string how;            ///< variant of a case
    std::string meeting = "";   ///< a folder in which tasks wait for each other
    std::size_t micros = 0;     ///< how long a task takes
    std::string scheduler = ""; ///< a cluster's address
    int watched = 0;            ///< a process whose CPU time is reported: the scheduler's
};

template <class T>
T parse_number(std::string_view option, std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        throw std::invalid_argument(std::string(option) + ": not a number: " + std::string(text));
    return value;
}

inline void set_option(parameters& p, std::string_view name, std::string_view value) {
    if (name == "--tasks")
        p.tasks = parse_number<std::size_t>(name, value);
    else if (name == "--batch")
        p.batch = parse_number<std::size_t>(name, value);
    else if (name == "--bytes")
        p.bytes = parse_number<std::size_t>(name, value);
    else if (name == "--workers")
        p.workers = parse_number<int>(name, value);
    else if (name == "--reps")
        p.reps = parse_number<int>(name, value);
    else if (name == "--in-flight")
        p.in_flight = parse_number<int>(name, value);
    else if (name == "--micros")
        p.micros = parse_number<std::size_t>(name, value);
    else if (name == "--scheduler")
        p.scheduler = value;
    else if (name == "--watched")
        p.watched = parse_number<int>(name, value);
    else if (name == "--how")
        p.how = value;
    else if (name == "--meeting")
        p.meeting = value;
    else
        throw std::invalid_argument("unknown option " + std::string(name));
}

/// @throws std::invalid_argument for anything it does not know.
inline parameters parse(int argc, char** argv) {
    parameters p;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (!word.starts_with("--"))
            p.kind = word;
        else if (i + 1 == argc)
            throw std::invalid_argument(std::string(word) + " needs a value");
        else
            set_option(p, word, argv[++i]);
    }
    return p;
}

using steady = std::chrono::steady_clock;

inline double seconds_since(steady::time_point start) {
    return std::chrono::duration<double>(steady::now() - start).count();
}

template <class Body>
double time_of(Body body) {
    const auto start = steady::now();
    body();
    return seconds_since(start);
}

/// The value that a share `q` of the others is below.
inline double quantile(std::vector<double> values, double q) {
    const auto place = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
    const auto at = values.begin() + place;
    std::nth_element(values.begin(), at, values.end());
    return *at;
}
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

} // namespace bench

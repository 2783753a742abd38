// SPDX-License-Identifier: BSL-1.0
// The command line that the thread benchmark programs share.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace bench {

struct parameters {
    std::string kind;                 ///< which case, see `usage`
    std::size_t tasks = 1000;         ///< tasks in a call
    std::uint32_t iterations = 0;     ///< of the kernel, per task; 0: the trivial task
    std::vector<std::uint32_t> sweep; ///< iteration counts of a METG sweep
    std::string order = "shuffled";   ///< of uneven tasks
    double seconds = 0.01;            ///< about how long one point of a METG sweep runs
    double rest = 0;                  ///< seconds of sleep before each call
    int workers = 0;                  ///< threads in all, the caller's included
    int reps = 3;
    int verbose = 0; ///< joblot only
};

inline constexpr const char* usage =
    "usage: %s CASE [--tasks N] [--iterations K] [--workers W] [--reps R] ...\n"
    "Runs one case of the thread benchmarks and prints one line per repetition, measured after a warm-up.\n"
    "\n"
    "  calibrate             ns per iteration of the kernel with all workers busy\n"
    "  uniform               seconds of one call of N equal tasks of K iterations (K = 0: trivial arithmetic)\n"
    "  sum, histogram        seconds of one call that makes one value of N tasks\n"
    "  call                  median ns of a whole call of N tasks of K iterations; --rest S sleeps S seconds before\n"
    "                        each call, outside the measurement\n"
    "  uneven                'seconds ideal' of one call of N tasks, 1 in 100 of them 100 times K iterations;\n"
    "                        --order shuffled|ascending|descending\n"
    "  metg_steps            'iterations tasks seconds' for each K of --sweep K,K,...: repeated calls of N tasks that\n"
    "                        each wait for the one before; --seconds S is about how long each point runs\n"
    "  metg_flat             the same with all those tasks in one call\n"
    "\n"
    "  --workers W           threads in all (default: the machine's)    --reps R     repetitions (default 3)\n"
    "  --verbose V           joblot's `verbose`, ignored by its peers   --help       this text\n";

template <class T>
T parse_number(std::string_view option, std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        throw std::invalid_argument(std::string(option) + ": not a number: " + std::string(text));
    return value;
}

inline std::vector<std::uint32_t> parse_sweep(std::string_view text) {
    std::vector<std::uint32_t> counts;
    while (true) {
        const std::size_t comma = text.find(',');
        counts.push_back(parse_number<std::uint32_t>("--sweep", text.substr(0, comma)));
        if (comma == std::string_view::npos) return counts;
        text.remove_prefix(comma + 1);
    }
}

inline void set_option(parameters& p, std::string_view name, std::string_view value) {
    if (name == "--tasks")
        p.tasks = parse_number<std::size_t>(name, value);
    else if (name == "--iterations")
        p.iterations = parse_number<std::uint32_t>(name, value);
    else if (name == "--sweep")
        p.sweep = parse_sweep(value);
    else if (name == "--order")
        p.order = value;
    else if (name == "--seconds")
        p.seconds = parse_number<double>(name, value);
    else if (name == "--rest")
        p.rest = parse_number<double>(name, value);
    else if (name == "--workers")
        p.workers = parse_number<int>(name, value);
    else if (name == "--reps")
        p.reps = parse_number<int>(name, value);
    else if (name == "--verbose")
        p.verbose = parse_number<int>(name, value);
    else
        throw std::invalid_argument("unknown option " + std::string(name));
}

/// Reads the command line; `--help` prints and exits. Throws `std::invalid_argument` on anything it does not know.
inline parameters parse(int argc, char** argv) {
    parameters p;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--help") {
            std::printf(usage, argv[0]);
            std::exit(EXIT_SUCCESS);
        }
        if (!word.starts_with("--"))
            p.kind = word;
        else if (i + 1 == argc)
            throw std::invalid_argument(std::string(word) + " needs a value");
        else
            set_option(p, word, argv[++i]);
    }
    if (p.workers <= 0) p.workers = static_cast<int>(std::thread::hardware_concurrency());
    return p;
}

} // namespace bench

// SPDX-License-Identifier: BSL-1.0
// Runs one call of joblot whose tasks complete one after the other, for joblib_golden.py to read its verbose lines.
#include <joblot/parallel.hpp>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr auto usage =
    "usage: golden_driver N VERBOSE default|one|everything|sequential list|view|generator [INDEX_THAT_FAILS]\n"
    "Prints joblot's verbose lines to stderr; the exit status is 3 if the call threw the task's exception.\n";

std::atomic<std::size_t> reported{0}; // completions that the call has reported

/// A task that ends once all before it are reported; from `failing` on, each throws instead.
void in_turn(std::size_t index, std::size_t failing, bool sequential) {
    const std::size_t before = index < failing ? index : failing;
    while (!sequential && reported.load() < before) std::this_thread::yield();
    if (index >= failing) throw std::runtime_error("the task fails, as it was told to");
}

joblot::options options_for(int verbose, const std::string& mode) {
    joblot::options options;
    options.n_jobs = mode == "sequential" ? 1 : 2;
    options.backend = mode == "sequential" ? "sequential" : "threads";
    options.verbose = verbose;
    options.batch_size = 1;
    if (mode == "one") options.pre_dispatch = 1;
    if (mode == "everything") options.pre_dispatch = joblot::everything;
    // Sequential tasks need no turns: there, lines come without a callback's help.
    if (mode != "sequential") options.progress = [](const joblot::progress_event& e) { reported = e.done; };
    return options;
}

template <class Range>
auto listed(Range&& tasks) {
    std::vector<std::ranges::range_value_t<Range>> list;
    for (auto&& task : tasks) list.push_back(task);
    return list;
}

int run(int argc, char** argv) {
    if (argc < 5) return std::fputs(usage, stderr), 2;
    const auto total = static_cast<std::size_t>(std::stoul(argv[1]));
    const std::string mode = argv[3];
    const std::string input = argv[4];
    const std::size_t failing = argc > 5 ? std::stoul(argv[5]) : total;
    const joblot::Parallel parallel(options_for(std::stoi(argv[2]), mode));
    const auto task = joblot::delayed(in_turn);
    const auto tasks = std::views::iota(std::size_t{0}, total) |
                       std::views::transform([&](std::size_t i) { return task(i, failing, mode == "sequential"); });
    try {
        if (input == "list")
            parallel(listed(tasks));
        else if (input == "view") // has a length, but is read one by one as the lambda might not be pure
            parallel(tasks);
        else // a filter hides the length
            parallel(tasks | std::views::filter([](const auto&) { return true; }));
    } catch (const std::runtime_error&) {
        return 3;
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& e) {
        return std::fprintf(stdout, "golden_driver: %s\n", e.what()), 1;
    }
}

// SPDX-License-Identifier: BSL-1.0
// When a verbose line is due: the closed forms against joblib's definition, and joblib's own counts.
#include <joblot/progress/verbosity.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

using joblot::detail::integer_sqrt;
using joblot::detail::verbosity;

namespace {

constexpr std::size_t everything = 0;

/// The counts that a run of one-task batches shows, the closing line's included.
std::string shown(const verbosity& policy, std::size_t total) {
    std::ostringstream out;
    for (std::size_t done = policy.next(0); done != verbosity::never; done = policy.next(done)) out << done << ' ';
    out << total;
    return out.str();
}

/// joblib's filter while it dispatches, as it is defined, on the number of dispatched batches.
bool defined_dispatching(int verbose, std::size_t dispatched) {
    if (verbose > 10 || dispatched == 0) return true;
    const double scale = 0.5 * (11 - verbose) * (11 - verbose);
    const auto level = [&](std::size_t i) { return std::floor(std::sqrt(static_cast<double>(i) / scale)); };
    return level(dispatched + 1) > level(dispatched);
}

/// joblib's filter while it drains, as it is defined.
bool defined_draining(int verbose, std::size_t total, std::size_t done, std::size_t pre_dispatch) {
    const auto cursor = static_cast<long long>(total - done + 1) - static_cast<long long>(pre_dispatch);
    const auto frequency = static_cast<long long>(total) / verbose + 1;
    return done + 1 != total && cursor % frequency == 0;
}

/// A step-by-step model of joblib's loop: a pipeline of `pre_dispatch` batches of one, refilled by each completion.
std::vector<std::size_t> simulated(int verbose, std::size_t pre_dispatch, std::size_t total) {
    std::vector<std::size_t> printed;
    bool exhausted = pre_dispatch == everything;
    std::size_t dispatched = exhausted ? total : std::min(total, pre_dispatch);
    for (std::size_t done = 1; done < total; ++done) {
        const bool prints =
            exhausted ? defined_draining(verbose, total, done, pre_dispatch) : defined_dispatching(verbose, dispatched);
        if (prints) printed.push_back(done);
        if (dispatched < total)
            ++dispatched;
        else
            exhausted = true;
    }
    return printed;
}

std::string range(int from, int to, int step = 1) {
    std::string out;
    for (int i = from; i <= to; i += step) out += std::to_string(i) + ' ';
    return out;
}

} // namespace

TEST_CASE("integer square roots are exact", "[progress]") {
    for (std::uint64_t root : {0ULL, 1ULL, 2ULL, 3ULL, 1000ULL, 94906265ULL, 94906267ULL, 2147483647ULL}) {
        CHECK(integer_sqrt(root * root) == root);
        CHECK(integer_sqrt(root * root + 2 * root) == root);
        if (root > 0) CHECK(integer_sqrt(root * root - 1) == root - 1);
    }
}

TEST_CASE("the closed form of the dispatching filter equals its definition", "[progress]") {
    constexpr std::size_t bound = 100'000;
    for (int verbose = 1; verbose <= 12; ++verbose) {
        for (const std::size_t pre_dispatch : {1U, 4U, 7U}) {
            const verbosity policy(verbose, pre_dispatch, false);
            std::size_t due = policy.next(0);
            bool same = true;
            for (std::size_t done = 1; done < bound; ++done) {
                same = same && defined_dispatching(verbose, pre_dispatch + done - 1) == (done == due);
                if (done == due) due = policy.next(done);
            }
            CAPTURE(verbose, pre_dispatch);
            CHECK(same);
        }
    }
}

TEST_CASE("lines of small calls are joblib's at every level", "[progress]") {
    std::size_t differences = 0;
    for (int verbose : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 50, 100})
        for (std::size_t pre_dispatch : {0U, 1U, 2U, 3U, 4U, 8U, 50U})
            for (std::size_t total = 0; total < 130; ++total) {
                const verbosity policy(verbose, pre_dispatch, false, total);
                std::vector<std::size_t> printed;
                for (std::size_t k = policy.next(0); k != verbosity::never; k = policy.next(k)) printed.push_back(k);
                if (printed == simulated(verbose, pre_dispatch, total)) continue;
                CAPTURE(verbose, pre_dispatch, total, printed, simulated(verbose, pre_dispatch, total));
                CHECK(++differences == 0);
            }
}

TEST_CASE("the counts that joblib was seen to print", "[progress]") {
    struct row {
        std::size_t total;
        int verbose;
        std::string by_default, all, sequential; // two jobs, hence 4 tasks ahead; the sequential column shows n once
    };
    const std::vector<row> table{
        {10, 1, "10", "10", "10"},
        {10, 5, "10", "2 5 8 10", "10"},
        {10, 10, "1 4 10", "1 3 5 7 10", "1 4 7 10"},
        {10, 100, range(1, 8) + "10", range(1, 8) + "10", range(1, 9) + "10"},
        {20, 5, "14 20", "1 6 11 16 20", "17 20"},
        {20, 10, "1 4 9 14 20", "3 6 9 12 15 18 20", "1 4 7 12 17 20"},
        {20, 11, range(1, 17) + "20", range(1, 17, 2) + "20", range(1, 19) + "20"},
        {20, 50, range(1, 18) + "20", range(1, 18) + "20", range(1, 19) + "20"},
        {100, 1, "46 100", "100", "49 100"},
        {100, 5, "14 68 100", "17 38 59 80 100", "17 71 100"},
        {100, 10, "1 4 9 14 21 28 37 46 57 68 81 94 100", "2 13 24 35 46 57 68 79 90 100",
         "1 4 7 12 17 24 31 40 49 60 71 84 97 100"},
    };
    for (const auto& [total, verbose, by_default, all, sequential] : table) {
        CAPTURE(total, verbose);
        CHECK(shown(verbosity(verbose, 4, false, total), total) == by_default);
        CHECK(shown(verbosity(verbose, everything, false, total), total) == all);
        CHECK(shown(verbosity(verbose, 4, true, total), total) == sequential);
        CHECK(shown(verbosity(verbose, everything, true, total), total) == sequential);
    }
}

TEST_CASE("an input of unknown length changes filters once its end is found", "[progress]") {
    verbosity policy(10, 4, false);
    CHECK(policy.next(0) == 1);
    CHECK(policy.next(1) == 4);
    CHECK(policy.next(4) == 9); // still dispatching, as far as anyone knows
    policy.set_total(10, 6);
    CHECK(policy.next(6) == verbosity::never); // due at 7 with joblib's period of 2, at 9 the last but one
    verbosity early(10, everything, false);
    early.set_total(10, 0);
    CHECK(shown(early, 10) == "1 3 5 7 10");
    verbosity sequential(10, 4, true);
    CHECK(sequential.next(7) == 12);
    sequential.set_total(12, 9);
    CHECK(sequential.next(9) == verbosity::never);
}

TEST_CASE("batches of many tasks print where one of their tasks would", "[progress]") {
    const verbosity policy(10, 4, false, 100); // 1 4 9 14 21 28 ...
    CHECK(policy.should_print(0, 1));
    CHECK_FALSE(policy.should_print(1, 3));
    CHECK(policy.should_print(1, 4));
    CHECK(policy.should_print(1, 50));
    CHECK_FALSE(policy.should_print(9, 13));
    CHECK_FALSE(policy.should_print(94, 99));
    CHECK_FALSE(policy.should_print(1, 100)); // the last one is the closing line's
}

TEST_CASE("silence, and counts far beyond any call", "[progress]") {
    constexpr std::size_t huge = std::size_t{1} << 59;
    CHECK(verbosity().next(0) == verbosity::never);
    CHECK(verbosity(0, 4, false, 100).next(0) == verbosity::never);
    CHECK(verbosity(10, 4, false, 0).next(0) == verbosity::never);
    CHECK(verbosity(100, 4, false, 1).next(0) == verbosity::never);
    CHECK(verbosity(10, 4, false).next(verbosity::never) == verbosity::never);
    CHECK(verbosity(10, verbosity::never, true, verbosity::never).next(huge) > huge);
    for (const int verbose : {1, 10, 11, 1'000'000'000}) {
        for (const std::size_t pre_dispatch : {std::size_t{0}, std::size_t{4}, verbosity::never}) {
            const verbosity policy(verbose, pre_dispatch, false, huge);
            std::size_t done = 0, lines = 0;
            while (lines < 1000 && (done = policy.next(done)) != verbosity::never) ++lines;
            CAPTURE(verbose, pre_dispatch, lines);
            CHECK((done == verbosity::never || done < huge));
        }
    }
    const verbosity billion(10, 4, false, 1'000'000'000);
    std::size_t lines = 0;
    for (std::size_t done = billion.next(0); done != verbosity::never; done = billion.next(done)) ++lines;
    CHECK(lines > 40'000); // sqrt(2e9)
    CHECK(lines < 50'000);
}

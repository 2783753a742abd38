// SPDX-License-Identifier: BSL-1.0
// The bookkeeping of a batch that was sent to another process.

#include <joblot/dispatch/claimed_batch.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstddef>
#include <limits>
#include <vector>

namespace {

using joblot::batch;
using joblot::detail::claimed_batch;
using range = claimed_batch::range;
using namespace std::chrono_literals;

constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

bool is(const range& r, std::size_t begin, std::size_t end) { return r.begin == begin && r.end == end; }

/// All tasks that are still to be sent, in the order in which they would be.
std::vector<std::size_t> to_send(claimed_batch& c, std::size_t limit = none) {
    std::vector<std::size_t> all;
    for (;;) {
        const range r = c.next_range(limit, none);
        if (r.size() == 0) return all;
        for (std::size_t k = r.begin; k != r.end; ++k) all.push_back(k);
    }
}

} // namespace

TEST_CASE("a fresh batch is all to be sent", "[process][claimed_batch]") {
    claimed_batch c(batch(100, 5), 0);
    CHECK(c.index(3) == 103);
    CHECK_FALSE(c.is_over(none));
    CHECK(c.sent().size() == 0);
    CHECK(is(c.next_range(none, none), 0, 5));
    CHECK(c.next_range(none, none).size() == 0);
    CHECK(c.is_over(none));
}

TEST_CASE("ranges are cut off at what a worker may get", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 5), 0);
    CHECK(is(c.next_range(none, 2), 0, 2));
    CHECK(is(c.next_range(none, 2), 2, 4));
    CHECK(is(c.next_range(none, 2), 4, 5));
    CHECK(c.next_range(none, 2).size() == 0);
}

TEST_CASE("nothing at the limit or above is sent", "[process][claimed_batch]") {
    claimed_batch c(batch(10, 5), 0);
    CHECK(is(c.next_range(13, none), 0, 3));
    CHECK(c.next_range(13, none).size() == 0);
    CHECK(c.is_over(13));
    claimed_batch none_wanted(batch(10, 5), 0);
    CHECK(none_wanted.is_over(10));
    CHECK_FALSE(none_wanted.is_over(11));
    CHECK(none_wanted.next_range(10, none).size() == 0);
}

TEST_CASE("a range can be put back", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 6), 0);
    const range r = c.next_range(none, 4);
    c.put_back({r.begin + 1, r.end});
    c.put_back({});
    CHECK(to_send(c) == std::vector<std::size_t>{1, 2, 3, 4, 5});
}

TEST_CASE("a batch is under way until its worker has answered", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 2), 0);
    c.note_sent(c.next_range(none, none), 9);
    CHECK(is(c.sent(), 0, 2));
    CHECK(c.sequence() == 9);
    CHECK_FALSE(c.is_over(none));
    c.note_done(0);
    c.note_done(1);
    c.answered(5ms);
    CHECK(c.is_over(none));
    CHECK(c.took() == 5ms);
    c.answered(2ms);
    CHECK(c.took() == 7ms);
}

TEST_CASE("what a lost worker had not done is sent again, in order", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 8), 0);
    c.note_sent(c.next_range(none, 6), 1);
    c.note_done(0);
    c.note_done(3);
    c.lost(none);
    CHECK(c.sent().size() == 0);
    CHECK(is(c.next_range(none, none), 1, 3));
    CHECK(is(c.next_range(none, none), 4, 8));
    CHECK(c.is_over(none));
}

TEST_CASE("what nobody wants any more is not sent again", "[process][claimed_batch]") {
    claimed_batch c(batch(10, 6), 0);
    c.note_sent(c.next_range(none, none), 1);
    c.note_done(1);
    c.lost(13);
    CHECK(to_send(c, 13) == std::vector<std::size_t>{0, 2});
    CHECK(c.is_over(13));
}

TEST_CASE("a worker that had done everything leaves nothing", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 2), 0);
    c.note_sent(c.next_range(none, none), 1);
    c.note_done(0);
    c.note_done(1);
    c.lost(none);
    CHECK(c.is_over(none));
}

TEST_CASE("a task is tried again as often as it may be", "[process][claimed_batch]") {
    claimed_batch never(batch(0, 2), 0);
    CHECK_FALSE(never.try_again(0, none));
    claimed_batch c(batch(10, 2), 2);
    CHECK(c.try_again(1, none));
    CHECK(c.try_again(1, none));
    CHECK_FALSE(c.try_again(1, none));
    CHECK(c.try_again(0, none));
    CHECK_FALSE(c.try_again(0, 10)); // nobody wants it
    claimed_batch again(batch(0, 3), 1);
    again.note_sent(again.next_range(none, none), 1);
    again.note_done(0);
    again.send_again(1);
    again.note_done(2);
    again.answered(1ms);
    CHECK_FALSE(again.is_over(none));
    CHECK(to_send(again) == std::vector<std::size_t>{1});
}

TEST_CASE("a task that failed and waits for another try is sent once, whatever becomes of its worker",
          "[process][claimed_batch]") {
    claimed_batch c(batch(0, 4), 1);
    c.note_sent(c.next_range(none, none), 1);
    c.note_done(0);
    REQUIRE(c.try_again(1, none));
    c.send_again(1);
    c.lost(none); // task 2 has killed it
    CHECK(to_send(c) == std::vector<std::size_t>{1, 2, 3});
}

TEST_CASE("neighbours that are tried again are sent together", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 6), 1);
    c.note_sent(c.next_range(none, none), 1);
    for (const std::size_t k : {1U, 2U, 4U}) {
        REQUIRE(c.try_again(k, none));
        c.send_again(k);
    }
    for (const std::size_t k : {0U, 3U, 5U}) c.note_done(k);
    c.answered(1ms);
    CHECK(is(c.next_range(none, none), 4, 5));
    CHECK(is(c.next_range(none, none), 1, 3));
    CHECK(c.is_over(none));
}

TEST_CASE("completeness is counted from the first task on, without gaps", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 4), 0);
    CHECK(c.newly_complete() == 0);
    c.note_done(1);
    CHECK(c.newly_complete() == 0);
    c.note_done(0);
    CHECK(c.newly_complete() == 2);
    CHECK(c.newly_complete() == 0);
    c.note_done(2);
    c.note_done(3);
    CHECK(c.newly_complete() == 2);
    CHECK(c.is_done(3));
}

TEST_CASE("progress inside a batch is shown once, and never taken back", "[process][claimed_batch]") {
    claimed_batch c(batch(0, 10), 0);
    c.note_sent(c.next_range(none, 6), 1);
    CHECK(c.newly_seen() == 0);
    c.note_progress(2);
    CHECK(c.newly_seen() == 2);
    c.note_progress(1); // it was started anew
    CHECK(c.newly_seen() == 0);
    c.note_progress(100); // nonsense of another machine's: more than it was given
    CHECK(c.newly_seen() == 4);
    for (std::size_t k = 0; k != 3; ++k) c.note_done(k);
    CHECK(c.newly_complete() == 3);
    CHECK(c.newly_seen() == 0);
    c.lost(none);
    c.note_sent(c.next_range(none, 3), 2); // 3 to 5
    c.note_progress(1);
    CHECK(c.newly_seen() == 0);
    for (std::size_t k = 3; k != 6; ++k) c.note_done(k);
    CHECK(c.newly_complete() == 3);
    c.answered(0ns);
    CHECK(c.newly_seen() == 0);
    c.note_sent(c.next_range(none, none), 3); // 6 to 9
    c.note_progress(1);
    CHECK(c.newly_seen() == 1);
    for (std::size_t k = 6; k != 10; ++k) c.note_done(k);
    CHECK(c.newly_complete() == 4);
    CHECK(c.newly_seen() == 3);
}

TEST_CASE("results come in order, each once, and the last ones are the last of all", "[process][claimed_batch]") {
    claimed_batch c(batch(100, 5), 0);
    c.note_sent(c.next_range(none, 4), 1);
    CHECK_FALSE(c.note_received(1, 1, false)); // before the first
    CHECK_FALSE(c.note_received(0, 5, false)); // more than were asked for
    CHECK_FALSE(c.note_received(0, 3, true));  // ends too early
    CHECK(c.note_received(0, 3, false));
    CHECK_FALSE(c.note_received(0, 3, false)); // again
    CHECK_FALSE(c.note_received(2, 1, false));
    CHECK_FALSE(c.note_received(3, none, false));
    CHECK_FALSE(c.note_received(none, 2, false));
    CHECK(c.note_received(3, 1, true));
    CHECK_FALSE(c.note_received(3, 1, true));
    CHECK(c.note_received(4, 0, true)); // nothing more to say
    c.answered(std::chrono::nanoseconds::max());
    c.note_sent(c.next_range(none, none), 2);
    CHECK(c.note_received(0, 1, true)); // counted from the beginning of what was sent last
    c.answered(1s);
    CHECK(c.took() == std::chrono::nanoseconds::max());
}

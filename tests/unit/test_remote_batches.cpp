// SPDX-License-Identifier: BSL-1.0
// What the owner of workers makes of their answers. Any others are the business of tests/fuzz/fuzz_answer.cpp.

#include <joblot/delayed.hpp>
#include <joblot/dispatch/indexed_job.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/dispatch/stream_job.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <ranges>
#include <vector>

namespace {

using namespace joblot::detail;
using kind = task_result_kind;

int twice(int i) { return 2 * i; }

auto four_tasks() { return std::views::iota(0, 4) | std::views::transform(joblot::delayed(twice)); }
using task_view = decltype(four_tasks());

/// A batch that was sent to a worker, whose answer this thread writes.
class sent_batch {
public:
    sent_batch(joblot::job& j) : seat_(j, 0), batches_(j, {}, true), batch_(*batches_.claim(seat_)) {
        outgoing request;
        batch_.note_sent(batches_.write_request(batch_, batch_.next_range(j.limit(), 4), 1, 0, request), 1);
    }

    void answer(const std::vector<kind>& kinds) {
        outgoing message;
        message.put(run_results{.sequence = 1, .count = static_cast<std::uint32_t>(kinds.size()), .last = 1});
        for (std::size_t k = 0; k != kinds.size(); ++k) {
            const std::size_t part = message.begin_part();
            encoder to(message);
            if (kinds[k] == kind::value) encode(to, 2 * static_cast<int>(k));
            message.end_part(part, 0, static_cast<std::uint32_t>(kinds[k]));
        }
        batches_.take_results(batch_, {message.stream, {}}, "a process", seat_);
    }
    claimed_batch& operator*() noexcept { return batch_; }
    void settle() { batches_.settle(batch_, seat_); }

private:
    joblot::worker seat_;
    remote_batches batches_;
    claimed_batch batch_;
};

const joblot::options in_one_batch{.n_jobs = 1, .batch_size = 4};
const call_settings settings{.given = &in_one_batch, .requested_n_jobs = 1, .workers = 1};

/// What any call makes of an answer that leaves out task 2.
template <class Job>
void refuses_what_is_left_out(Job& j) {
    sent_batch b(j);
    CHECK_THROWS_AS(b.answer({kind::value, kind::value, kind::skipped, kind::value}), joblot::serialization_error);
    CHECK((*b).is_done(1));
    (*b).lost(j.limit()); // as a driver does with a worker that makes no sense
    CHECK_FALSE((*b).is_over(j.limit()));
    const claimed_batch::range again = (*b).next_range(j.limit(), 4);
    CHECK(again.begin == 2);
    CHECK(again.end == 4);
    j.stop();
    b.settle();
}

} // namespace

TEST_CASE("an answer may leave out no task that is wanted", "[process][remote_batches]") {
    auto view = four_tasks();
    SECTION("of a list") {
        using source = indexed_source<std::ranges::iterator_t<task_view>, true>;
        source tasks(view.begin(), 4);
        indexed_job<source, list_results<int>> j(settings, tasks, {});
        refuses_what_is_left_out(j);
    }
    SECTION("of a generator") {
        stream_job<task_view, true, streamed_results<int>> j(settings, view, delivery::ordered, {});
        refuses_what_is_left_out(j);
        j.end();
    }
}

TEST_CASE("after a stop a worker leaves out the tasks that it has not started", "[process][remote_batches]") {
    auto view = four_tasks();
    stream_job<task_view, true, list_results<int>> j(settings, view, delivery::at_end, {});
    sent_batch b(j);
    j.stop();
    CHECK_NOTHROW(b.answer({kind::value, kind::value, kind::skipped, kind::skipped}));
    CHECK((*b).is_done(1));
    CHECK_FALSE((*b).is_done(2));
    b.settle();
    CHECK(j.state() == joblot::progress_state::cancelled);
}

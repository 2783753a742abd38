// SPDX-License-Identifier: BSL-1.0
// Destructors of tasks, results and exceptions are the user's code: what they do, a stop of their own call even, finds
// no lock of the call taken.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <ranges>
#include <stop_token>
#include <thread>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

struct call_stop {
    std::stop_source source;
    std::atomic<bool> armed{false};
};

/// Stops the call when one is destroyed that was copied, as it is where others are moved: one that goes where it was
/// kept, and no other.
class stops_at_its_end {
public:
    explicit stops_at_its_end(call_stop& stop) : stop_(&stop) {}
    stops_at_its_end(const stops_at_its_end& other) : stop_(other.stop_) { other.copied_ = true; }
    stops_at_its_end& operator=(const stops_at_its_end&) = delete;
    ~stops_at_its_end() {
        if (copied_ && stop_->armed) stop_->source.request_stop();
    }

private:
    call_stop* stop_;
    mutable bool copied_ = false;
};

/// Whose end stops the call.
std::shared_ptr<stops_at_its_end> shared(call_stop& stop) {
    auto made = std::make_shared<stops_at_its_end>(stop);
    [[maybe_unused]] const auto copy = *made;
    return made;
}

/// To its end, or until the call is stopped. What goes after the first result stops it.
template <class Generator>
void read_all(Generator generator, call_stop& stop) {
    try {
        for ([[maybe_unused]] auto&& value : generator) {
            if (!stop.armed) std::this_thread::sleep_for(std::chrono::milliseconds(5)); // for others to be there, too
            stop.armed = true;
        }
    } catch (const joblot::cancelled&) {
    }
    CHECK(stop.source.stop_requested());
}

/// Reads both kinds of generator over tasks that `make` makes of a number and the stop.
template <class Make>
void read_both(int n_jobs, Make make) {
    for (const bool ordered : {true, false}) {
        call_stop stop;
        const auto tasks = views::iota(0, 100) | views::transform([&](int i) { return make(i, stop); });
        const Parallel parallel({.n_jobs = n_jobs, .stop = stop.source.get_token()});
        ordered ? read_all(parallel.generator(tasks), stop) : read_all(parallel.generator_unordered(tasks), stop);
    }
}

} // namespace

TEST_CASE("a result's destructor may stop the call", "[stop][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    read_both(n_jobs,
              [](int, call_stop& stop) { return delayed([](call_stop* s) { return stops_at_its_end(*s); })(&stop); });
}

TEST_CASE("a task's destructor may stop the call", "[stop][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    read_both(n_jobs, [](int i, call_stop& stop) {
        return delayed([](int x, const std::shared_ptr<stops_at_its_end>&) { return x; })(i, shared(stop));
    });
}

TEST_CASE("an exception's destructor may stop the call", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    call_stop stop;
    stop.armed = true;
    struct failure {
        std::shared_ptr<stops_at_its_end> last;
    };
    const auto task = [&stop](int i) {
        if (i == 1) throw failure{shared(stop)};
        if (i == 0) { // takes the place of the other's exception, when that is nowhere else any more
            while (!joblot::this_task::stop_requested()) std::this_thread::yield();
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            throw i;
        }
    };
    bool caught = false;
    try {
        Parallel({.n_jobs = 2, .batch_size = 1, .stop = stop.source.get_token()}).map(task, views::iota(0, 2));
    } catch (int) {
        caught = true;
    } catch (const joblot::cancelled&) {
        caught = true; // the exception was gone before the second one came
    }
    CHECK(caught);
    CHECK(stop.source.stop_requested());
}

TEST_CASE("tasks that fail are tried again while others wait behind them", "[retries][outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n = backend.fewer(2'000);
    const auto all = Parallel({.n_jobs = 2, .batch_size = 1, .retries = 2})
                         .outcomes(views::iota(0, n) | views::transform(delayed([](int i) -> int {
                                       if (i % 3 == 0) throw i;
                                       return i;
                                   })));
    for (int i = 0; i != n; ++i) {
        const auto& o = all[static_cast<std::size_t>(i)];
        CHECK((o.has_value() == (i % 3 != 0) && o.tries() == (o.has_value() ? 1 : 3)));
        if (!o.has_value()) CHECK_THROWS_AS(o.value(), int);
    }
}

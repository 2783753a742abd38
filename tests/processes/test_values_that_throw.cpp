// SPDX-License-Identifier: BSL-1.0
// Tasks that throw what cannot be rebuilt, and values whose own functions throw on the way to a worker or back: an
// error for that task, none for its siblings, and no worker is lost.

#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <stdexcept>
#include <string>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::right_value;
using support::victim;

// --- what is thrown

struct odd_thing {
    int number;
};
class odd_error : public std::runtime_error {
public:
    explicit odd_error(int number) : runtime_error("odd error " + std::to_string(number)) {}
};

int throws_a_struct(int i) {
    if (i == victim) throw odd_thing{i};
    return right_value(i);
}
int throws_a_number(int i) {
    if (i == victim) throw static_cast<long double>(i); // NOLINT: that is the point
    return right_value(i);
}
int throws_a_class(int i) {
    if (i == victim) throw odd_error(i);
    return right_value(i);
}

// --- values that throw

enum class when { never, saved, loaded, made };

/// Has cereal functions and a constructor that throw when they are told to.
class touchy {
public:
    touchy() {
        if (make_fails) throw std::domain_error("making failed");
    }
    touchy(int value, when fails) : value_(value), fails_(fails) {}
    ~touchy() = default;
    touchy(const touchy&) = default;
    touchy& operator=(const touchy&) = default;

    int value() const { return value_; }

    template <class Archive>
    void save(Archive& archive) const {
        if (fails_ == when::saved) throw std::domain_error("saving failed");
        archive(value_, fails_);
    }
    template <class Archive>
    void load(Archive& archive) {
        archive(value_, fails_);
        if (fails_ == when::loaded) throw std::domain_error("loading failed");
        if (fails_ == when::made) {
            make_fails = true;
            try {
                const touchy another;
            } catch (...) {
                make_fails = false;
                throw;
            }
        }
    }

private:
    static inline thread_local bool make_fails = false; // drivers decode at the same time

    int value_ = 0;
    when fails_ = when::never;
};

when for_task(int i, when fails) { return i == victim ? fails : when::never; }

int takes_touchy(const touchy& value) { return right_value(value.value()); }

touchy gives_touchy(int i, when fails) { return {right_value(i), for_task(i, fails)}; }

std::string message_of(when fails) {
    return fails == when::saved ? "saving failed" : fails == when::loaded ? "loading failed" : "making failed";
}

/// Whether the worker that there was before a call over `make(i)` is there after it. A call that ends by throwing ends
/// workers, too, that are at something else.
template <class Make>
bool costs_no_worker(Make make) {
    const pid_t worker = support::some_worker();
    Parallel(support::big_batches()).outcomes(views::iota(0, support::tasks_in_call) | views::transform(make));
    return !support::is_gone(worker);
}

/// A call whose results are of a class: as `check_isolated`, for outcomes.
void check_results(const joblot::options& options, when fails) {
    const Parallel parallel(options);
    const auto tasks = views::iota(0, support::tasks_in_call) |
                       views::transform([&](int i) { return delayed(gives_touchy, "ill-fated")(i, fails); });
    const auto outcomes = parallel.outcomes(tasks);
    for (int i = 0; i != support::tasks_in_call; ++i) {
        const auto& outcome = outcomes[static_cast<std::size_t>(i)];
        INFO("task " << i);
        if (i == victim) {
            REQUIRE(!outcome.has_value());
            support::check_error<std::domain_error>(
                outcome.error(), [&](const std::domain_error& e) { CHECK(e.what() == message_of(fails)); });
        } else {
            CHECK(outcome.value().value() == right_value(i));
        }
    }
    CHECK_THROWS_AS(parallel(tasks), std::domain_error);
    CHECK(support::pool_works(parallel));
}

} // namespace

TEST_CASE("what is no std::exception arrives with the name of its type", "[errors]") {
    const auto function = GENERATE(0, 1);
    const auto make = [&](int i) { return delayed(function == 0 ? throws_a_struct : throws_a_number, "ill-fated")(i); };
    support::check_isolated<joblot::remote_error>(support::big_batches(), make, [&](const joblot::remote_error& e) {
        CHECK(e.type_name().find(function == 0 ? "odd_thing" : "long double") != std::string::npos);
        CHECK(e.text().empty());
        CHECK(e.worker().starts_with("process "));
        CHECK(std::string(e.what()).find(e.type_name()) != std::string::npos);
    });
    CHECK(costs_no_worker(make));
}

TEST_CASE("an exception of an unknown class arrives with its name and text", "[errors]") {
    support::check_isolated<joblot::remote_error>(
        support::big_batches(), [](int i) { return delayed(throws_a_class, "ill-fated")(i); },
        [](const joblot::remote_error& e) {
            CHECK(e.type_name().find("odd_error") != std::string::npos);
            CHECK(e.text() == "odd error 4");
        });
}

TEST_CASE("an argument that throws while it is written fails its task", "[errors][codec]") {
    support::check_isolated<std::domain_error>(
        support::big_batches(),
        [](int i) { return delayed(takes_touchy, "ill-fated")(touchy(i, for_task(i, when::saved))); },
        [](const std::domain_error& e) { CHECK(std::string(e.what()) == "saving failed"); });
}

TEST_CASE("an argument that throws while it is read fails its task", "[errors][codec]") {
    const when fails = GENERATE(when::loaded, when::made);
    const auto make = [&](int i) { return delayed(takes_touchy, "ill-fated")(touchy(i, for_task(i, fails))); };
    support::check_isolated<std::domain_error>(
        support::big_batches(), make, [&](const std::domain_error& e) { CHECK(e.what() == message_of(fails)); });
    CHECK(costs_no_worker(make));
}

TEST_CASE("a result that throws while it is written or read fails its task", "[errors][codec]") {
    check_results(support::big_batches(), GENERATE(when::saved, when::loaded, when::made));
}

TEST_CASE("a forked task's result that throws while it is written or read fails its task", "[errors][codec][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    check_results(support::big_batches(joblot::processes{.start_method = joblot::start_method::fork}),
                  GENERATE(when::saved, when::loaded, when::made));
}

TEST_CASE("every argument of a batch throws while it is written", "[errors][codec]") {
    const auto outcomes =
        Parallel(support::big_batches()).outcomes(views::iota(0, 20) | views::transform([](int i) {
                                                      return delayed(takes_touchy)(touchy(i, when::saved));
                                                  }));
    REQUIRE(outcomes.size() == 20);
    for (std::size_t i = 0; i != 20; ++i) {
        CHECK_THROWS_AS(outcomes[i].value(), std::domain_error);
        CHECK(joblot::failed_task(outcomes[i].error())->index == i);
    }
}

TEST_CASE("what a retried task throws at first is forgotten", "[errors][retries]") {
    const support::scratch_dir dir;
    const auto throws_once = [](int i, const std::string& folder) {
        if (i == victim && support::first_to_create(folder + "/tried")) throw odd_thing{i};
        return right_value(i);
    };
    support::check_retried(support::big_batches(), [&](int i) { return delayed(throws_once)(i, dir.path()); });
}

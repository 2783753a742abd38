// SPDX-License-Identifier: BSL-1.0
// Classes that say they can be copied and cannot; and retries that need no copy.
#include <joblot/joblot.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

namespace {

/// `std::is_copy_constructible` says yes, as the vector does; to copy one does not compile.
class mesh {
public:
    explicit mesh(int n) { parts_.push_back(std::make_unique<int>(n)); }
    [[nodiscard]] int first() const { return *parts_.front(); }

private:
    std::vector<std::unique_ptr<int>> parts_;
};

/// The same, and its author says so.
class declared_mesh : public mesh {
public:
    using mesh::mesh;
};

int first_of(const mesh& m) { return m.first(); }
int first_and_name(const mesh& m, std::string name, int n) { return m.first() + static_cast<int>(name.size()) + n; }
int first_of_value(declared_mesh m) { return m.first(); }
int first_of_rvalue(declared_mesh&& m) { return m.first(); }

} // namespace

template <>
inline constexpr bool joblot::enable_copy<declared_mesh> = false;

TEST_CASE("a class that only claims to be copyable is an argument, a capture and a result") {
    const Parallel p({.n_jobs = 2, .backend = "threads", .retries = 1});
    const auto [a, b, c] = p(delayed(first_of)(mesh(1)), delayed([m = mesh(2)] { return m.first(); })(),
                             delayed(first_and_name, "named")(mesh(3), "four", 5));
    CHECK(a == 1);
    CHECK(b == 2);
    CHECK(c == 12);
    const auto made = p.map([](int i) { return mesh(i); }, views::iota(0, 3));
    CHECK(made[2].first() == 2);

    const auto tasks = views::iota(0, 3) | views::transform([](int i) { return delayed(first_of)(mesh(i)); });
    CHECK(p(tasks) == std::vector{0, 1, 2});
    std::vector<int> read;
    for (const int i : p.generator(tasks)) read.push_back(i);
    CHECK(read == std::vector{0, 1, 2});

    std::vector<joblot::task<int (*)(const mesh&), mesh>> kept;
    kept.push_back(delayed(first_of)(mesh(7)));
    CHECK(p(kept) == std::vector{7}); // left as they are
    CHECK(p(std::move(kept)) == std::vector{7});
}

TEST_CASE("a class declared as not copyable is passed by value and as an rvalue, and not retried") {
    const Parallel p({.n_jobs = 2, .backend = "threads"});
    const auto [a, b] = p(delayed(first_of_value)(declared_mesh(1)), delayed(first_of_rvalue)(declared_mesh(2)));
    CHECK(a == 1);
    CHECK(b == 2);
    CHECK_THROWS_AS(Parallel({.backend = "threads", .retries = 1})(delayed(first_of_value)(declared_mesh(1))),
                    std::invalid_argument);
}

TEST_CASE("a task that leaves its arguments as they are is tried again without a copy") {
    std::atomic<int> calls = 0;
    const auto second_time = [&calls](const std::unique_ptr<int>& number) {
        if (++calls == 1) throw std::runtime_error("not yet");
        return *number;
    };
    const auto [number] =
        Parallel({.backend = "threads", .retries = 1})(delayed(second_time)(std::make_unique<int>(5)));
    CHECK(number == 5);
    CHECK(calls == 2);
}

// SPDX-License-Identifier: BSL-1.0
// Results of every movable kind, in every form of a call: also what cannot be assigned, copied or made from nothing.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>

#include <concepts>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

struct const_member {
    const int id;
    std::string name;
};
struct const_of_const { // an aggregate of such
    const const_member inner;
    const std::vector<int> more;
};
struct reference_member {
    const int& id;
};
struct const_and_unique { // neither copied nor assigned
    const int id;
    std::unique_ptr<int> owned;
};
class only_constructed { // likewise, with constructors of its own and no default one
public:
    explicit only_constructed(int i) : id_(std::make_unique<int>(i)) {}
    only_constructed(only_constructed&&) = default;
    only_constructed& operator=(only_constructed&&) = delete;
    [[nodiscard]] int id() const { return *id_; }

private:
    std::unique_ptr<int> id_;
};

int numbers[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

const_member make_const(int i) { return {i, std::to_string(i)}; }
const_of_const make_nested(int i) { return {{i, std::to_string(i)}, {i}}; }
reference_member make_reference(int i) { return {numbers[i]}; }
const_and_unique make_unique_one(int i) { return {i, std::make_unique<int>(i)}; }
only_constructed make_only(int i) { return only_constructed(i); }
std::optional<const_member> make_optional(int i) { return std::optional<const_member>(std::in_place, make_const(i)); }
std::pair<const int, std::unique_ptr<int>> make_pair(int i) { return {i, std::make_unique<int>(i)}; }

int id_of(const const_member& r) { return r.id; }
int id_of(const const_of_const& r) { return r.inner.id; }
int id_of(const reference_member& r) { return r.id; }
int id_of(const const_and_unique& r) { return *r.owned; }
int id_of(const only_constructed& r) { return r.id(); }
int id_of(const std::optional<const_member>& r) { return r->id; }
int id_of(const std::pair<const int, std::unique_ptr<int>>& r) { return r.first; }

template <class R>
void check_ids(const std::vector<R>& results) {
    REQUIRE(results.size() == 9);
    for (int i = 0; i != 9; ++i) CHECK(id_of(results[static_cast<std::size_t>(i)]) == i);
}

/// All forms of a call, over input that is indexed and input that is read.
template <class R>
void check_all_forms(R (*make)(int), const joblot::options& o) {
    static_assert(!std::is_move_assignable_v<R> || std::same_as<R, std::optional<const_member>>);
    const Parallel parallel(o);
    const std::list<int> listed(std::begin(numbers), std::end(numbers));
    const auto indexed = views::iota(0, 9) | views::transform(delayed(make));
    const auto streamed = listed | views::transform(delayed(make));
    const auto check_range = [&](const auto& tasks) {
        check_ids(parallel(tasks));
        std::vector<R> taken;
        for (auto&& r : parallel.generator(tasks)) taken.push_back(std::move(r));
        check_ids(taken);
        int sum = 0;
        for (auto&& r : parallel.generator_unordered(tasks)) {
            CHECK(id_of(r.value) == static_cast<int>(r.index));
            sum += id_of(r.value);
        }
        CHECK(sum == 36);
        auto outcomes = parallel.outcomes(tasks);
        REQUIRE(outcomes.size() == 9);
        for (int i = 0; i != 9; ++i) CHECK(id_of(outcomes[static_cast<std::size_t>(i)].value()) == i);
        const R moved_out = std::move(outcomes[3]).value();
        CHECK(id_of(moved_out) == 3);
        const auto persisted = parallel.persist(tasks);
        REQUIRE(persisted.size() == 9);
        for (int i = 0; i != 9; ++i) CHECK(id_of(persisted[static_cast<std::size_t>(i)].get()) == i);
    };
    check_range(indexed);
    check_range(streamed);
    check_ids(parallel.map(make, views::iota(0, 9)));
    check_ids(parallel.map(make, listed));
    const auto [a, b, c] = parallel(delayed(make)(1), delayed(make_const)(2), delayed([](int) {})(3));
    CHECK(id_of(a) == 1);
    CHECK(id_of(b) == 2);
    static_assert(std::same_as<std::remove_cvref_t<decltype(c)>, std::monostate>);
}

} // namespace

TEST_CASE("results of every movable type, in every form of a call", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory); // what travels is another matter, with tests of its own
    const joblot::options o{.n_jobs = GENERATE(1, 2), .retries = GENERATE(0, 1)};
    check_all_forms(make_const, o);
    check_all_forms(make_nested, o);
    check_all_forms(make_reference, o);
    check_all_forms(make_unique_one, o);
    check_all_forms(make_only, o);
    check_all_forms(make_optional, o);
    check_all_forms(make_pair, o);
}

// SPDX-License-Identifier: BSL-1.0
// Results of every kind come back, in the order of the tasks.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>

#include <any>
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

int square(int x) { return x * x; }
int combine(int a, int b, int c) { return 100 * a + 10 * b + c; }
void nothing(int) {}
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }
bool odd(int x) { return x % 2 == 1; }
std::string text(int x) { return "a text too long for the small string optimisation: " + std::to_string(x); }
std::any anything(int x) { return x; }
std::exception_ptr harmless(int x) { return std::make_exception_ptr(x); }
const std::string constant(int x) { return std::to_string(x); }

struct no_default {
    explicit no_default(int v) : value{v} {}
    int value;
};
no_default without_default(int x) { return no_default{x}; }

struct alignas(256) over_aligned {
    int value;
};
over_aligned aligned(int x) { return {x}; }

struct large {
    std::array<int, 4096> values;
};
large big(int x) {
    large result{};
    result.values.fill(x);
    return result;
}

// A result that punishes a library that takes addresses or commas for granted.
struct hostile {
    int value = 0;
    hostile() = delete;
    explicit hostile(int v) : value{v} {}
    hostile(const hostile&) = delete;
    hostile(hostile&& other) noexcept : value{other.value} {}
    hostile& operator=(hostile&&) = delete;
    void operator&() const = delete;
    template <class T>
    void operator,(T&&) const = delete;
};
hostile make_hostile(int x) { return hostile{x}; }

template <class F>
auto run(int n_jobs, int n, F f) {
    return Parallel({.n_jobs = n_jobs})(views::iota(0, n) | views::transform(delayed(f)));
}

} // namespace

TEST_CASE("[J1] a simple map equals the serial loop for every n_jobs and verbosity", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2, -1, -2, 4);
    CHECK(run(n_jobs, 5, square) == std::vector{0, 1, 4, 9, 16});
}

TEST_CASE("[J2] all bound arguments reach the function", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2, 3);
    const auto make = [](int i) { return delayed(combine)(i, 2, 3); };
    CHECK(Parallel({.n_jobs = n_jobs})(views::iota(0, 4) | views::transform(make)) == std::vector{23, 123, 223, 323});
}

TEST_CASE("[J3] an empty input gives an empty result", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    CHECK(run(n_jobs, 0, square).empty());
    CHECK(run(n_jobs, 0, boxed).empty());
    run(n_jobs, 0, nothing);
    CHECK(Parallel({.n_jobs = n_jobs}).outcomes(views::iota(0, 0) | views::transform(delayed(square))).empty());
}

TEST_CASE("[J4] a single task gives its result, however many workers there are", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    CHECK(run(4, 1, [](int x) { return x + 7; }) == std::vector{7});
}

TEST_CASE("[J7] capturing lambdas work where memory is shared", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const std::vector<int> table{5, 6, 7};
    const auto lookup = [&table](int i) { return table[static_cast<std::size_t>(i)]; };
    CHECK(run(n_jobs, 3, lookup) == table);
}

TEST_CASE("[J8] tasks may fill the caller's own container", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::vector<int> slots(5);
    run(n_jobs, 5, [&slots](int i) { slots[static_cast<std::size_t>(i)] = i + 1; });
    CHECK(slots == std::vector{1, 2, 3, 4, 5});
}

TEST_CASE("results may be move-only", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const std::vector<std::unique_ptr<int>> results = run(n_jobs, 50, boxed);
    REQUIRE(results.size() == 50);
    for (int i = 0; i < 50; ++i) CHECK(*results[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("results need no default constructor", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto results = run(n_jobs, 50, without_default);
    REQUIRE(results.size() == 50);
    for (int i = 0; i < 50; ++i) CHECK(results[static_cast<std::size_t>(i)].value == i);
}

TEST_CASE("bool results are right at every position, also packed into a vector<bool>", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(5000);
    const auto results = run(n_jobs, n, odd);
    static_assert(std::is_same_v<decltype(results), const std::vector<bool>>);
    REQUIRE(std::ssize(results) == n);
    int wrong = 0;
    for (int i = 0; i < n; ++i) wrong += results[static_cast<std::size_t>(i)] != odd(i);
    CHECK(wrong == 0);
}

TEST_CASE("void tasks make a void call", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    static_assert(std::is_void_v<decltype(run(n_jobs, 10, nothing))>);
    CHECK_NOTHROW(run(n_jobs, 10, nothing));
}

TEST_CASE("returned references and const values decay", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::vector<std::string> words{"zero", "one", "two"};
    const auto word = [&words](int i) -> std::string& { return words[static_cast<std::size_t>(i)]; };
    auto copies = run(n_jobs, 3, word);
    static_assert(std::is_same_v<decltype(copies), std::vector<std::string>>);
    CHECK(copies == words);
    copies[0] = "changed";
    CHECK(words[0] == "zero");
    static_assert(std::is_same_v<decltype(run(n_jobs, 3, constant)), std::vector<std::string>>);
    CHECK(run(n_jobs, 3, constant) == std::vector<std::string>{"0", "1", "2"});
}

TEST_CASE("a returned reference may be one into the task's own arguments", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto last = [](const std::vector<std::string>& words) -> const std::string& { return words.back(); };
    const std::string word(100, 'w'); // it does not fit into the string itself
    const auto make = [&](int i) {
        return delayed(last)(std::vector<std::string>(static_cast<std::size_t>(i + 1), word));
    };
    const auto all_right = [&](const std::vector<std::string>& results) {
        return results == std::vector<std::string>(results.size(), word);
    };
    std::vector<decltype(make(0))> tasks;
    for (int i = 0; i != 12; ++i) tasks.push_back(make(i));
    for (const int retries : {0, 1}) {
        const Parallel p({.n_jobs = n_jobs, .retries = retries});
        CHECK(all_right(
            p(std::views::iota(0, 12) | std::views::transform(make)))); // tasks that are made when they are read
        CHECK(all_right(p(tasks)));
        CHECK(all_right({std::get<0>(p(make(3)))}));
    }
}

TEST_CASE("large, over-aligned and heap-owning results arrive whole", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto larges = run(n_jobs, 20, big);
    REQUIRE(larges.size() == 20);
    for (std::size_t i = 0; i < 20; ++i) {
        CHECK(larges[i].values.front() == static_cast<int>(i));
        CHECK(larges[i].values.back() == static_cast<int>(i));
    }
    const auto aligneds = run(n_jobs, 20, aligned);
    REQUIRE(aligneds.size() == 20);
    for (std::size_t i = 0; i < 20; ++i) {
        CHECK(aligneds[i].value == static_cast<int>(i));
        CHECK(reinterpret_cast<std::uintptr_t>(&aligneds[i]) % alignof(over_aligned) == 0);
    }
    const auto texts = run(n_jobs, 20, text);
    REQUIRE(texts.size() == 20);
    for (std::size_t i = 0; i < 20; ++i) CHECK(texts[i] == text(static_cast<int>(i)));
}

TEST_CASE("results that convert from anything, hold errors as values, or hide operators are only values", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory); // std::any and std::exception_ptr cannot travel
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto anys = run(n_jobs, 3, anything);
    REQUIRE(anys.size() == 3);
    CHECK(std::any_cast<int>(anys[2]) == 2);
    const auto errors = run(n_jobs, 3, harmless);
    REQUIRE(errors.size() == 3);
    CHECK(errors[1] != nullptr);
    const auto outcomes =
        Parallel({.n_jobs = n_jobs}).outcomes(views::iota(0, 3) | views::transform(delayed(anything)));
    REQUIRE(outcomes.size() == 3);
    CHECK(std::any_cast<int>(outcomes[1].value()) == 1);
    const auto hostiles = run(n_jobs, 30, make_hostile);
    REQUIRE(hostiles.size() == 30);
    CHECK(hostiles[29].value == 29);
}

TEST_CASE("a task may return another task", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    auto later = run(n_jobs, 4, [](int i) { return delayed(square)(i); });
    CHECK(Parallel({.n_jobs = n_jobs})(std::move(later)) == std::vector{0, 1, 4, 9});
}

TEST_CASE("functions, lambdas, functors and pointers to members can all be delayed", "[results]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    struct point {
        int x;
        int scaled(int by) const { return x * by; }
        std::string operator()(int i) const { return std::to_string(x + i); }
    };
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto member = [](int i) { return delayed(&point::scaled)(point{i}, 3); };
    CHECK(Parallel({.n_jobs = n_jobs})(views::iota(0, 3) | views::transform(member)) == std::vector{0, 3, 6});
    const auto data = [](int i) { return delayed(&point::x)(point{i}); };
    CHECK(Parallel({.n_jobs = n_jobs})(views::iota(0, 3) | views::transform(data)) == std::vector{0, 1, 2});
    CHECK(run(n_jobs, 2, point{40}) == std::vector<std::string>{"40", "41"});
    CHECK(run(n_jobs, 2, std::function<int(int)>{square}) == std::vector{0, 1});
    int sum = 0;
    std::vector<int> input{1, 2, 3};
    const auto by_reference =
        delayed([](int& total, const std::vector<int>& v) { total = std::accumulate(v.begin(), v.end(), 0); });
    Parallel({.n_jobs = n_jobs})(by_reference(std::ref(sum), std::cref(input)));
    CHECK(sum == 6);
}

TEST_CASE("the tuple form takes tasks of different types", "[results][tuple]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    auto [number, word, none, box] =
        Parallel({.n_jobs = n_jobs})(delayed(square)(7), delayed(text)(1), delayed(nothing)(0), delayed(boxed)(5));
    static_assert(std::is_same_v<decltype(number), int>);
    static_assert(std::is_same_v<decltype(none), std::monostate>);
    CHECK(number == 49);
    CHECK(word == text(1));
    CHECK(*box == 5);
    const std::tuple<int> one = Parallel({.n_jobs = n_jobs})(delayed(square)(3));
    CHECK(std::get<0>(one) == 9);
}

TEST_CASE("the tuple form does not consume tasks that are kept", "[results][tuple]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs});
    auto kept = delayed([](std::string s) { return s.size(); })(std::string(40, 'x'));
    CHECK(std::get<0>(parallel(kept, kept)) == 40);
    CHECK(std::get<1>(parallel(kept, kept)) == 40);
    CHECK(std::get<0>(parallel(std::move(kept))) == 40);
}

TEST_CASE("a million tasks", "[results][large]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2, 4);
    constexpr int n = support::rounds(1'000'000);
    const auto results = run(n_jobs, n, [](int x) { return x ^ 0x55; });
    REQUIRE(results.size() == n);
    int wrong = 0;
    for (int i = 0; i < n; ++i) wrong += results[static_cast<std::size_t>(i)] != (i ^ 0x55);
    CHECK(wrong == 0);
}

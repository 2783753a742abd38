// SPDX-License-Identifier: BSL-1.0
// Values through the codec and back: standard types, and plain classes of users.

#include "support/wire.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <bitset>
#include <chrono>
#include <complex>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <stack>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <valarray>
#include <variant>
#include <vector>

namespace {

using joblot::detail::out_of_band_from;
using support::read;
using support::round_trip;
using support::written;

template <class T>
bool survives(const T& value) {
    return round_trip(value) == value;
}

enum class colour : unsigned char { red = 200 };
struct point {
    double x = 0, y = 0;
    bool operator==(const point&) const = default;
};
struct alignas(64) wide {
    double x = 0;
    bool operator==(const wide&) const = default;
};
struct inner {
    std::string name;
    std::optional<point> at;
    std::vector<wide> wides;
    bool operator==(const inner&) const = default;
};
struct outer {
    inner first;
    std::map<std::string, std::vector<inner>> more;
    std::variant<int, inner, std::monostate> choice;
    std::array<std::string, 2> names;
    int n = 0;
    bool operator==(const outer&) const = default;
};
struct tree {
    int value = 0;
    std::vector<tree> kids;
    bool operator==(const tree&) const = default;
};
class no_default {
public:
    explicit no_default(int v) : v_(v) {}
    bool operator==(const no_default&) const = default;

private:
    int v_;
};
struct method_member {
    double x = 0;
    bool (point::*f)(const point&) const = nullptr;
};
int twice(int i) { return 2 * i; }

template <class Queue>
std::vector<typename Queue::value_type> drained(Queue queue) {
    std::vector<typename Queue::value_type> all;
    for (; !queue.empty(); queue.pop()) {
        if constexpr (requires { queue.top(); })
            all.push_back(queue.top());
        else
            all.push_back(queue.front());
    }
    return all;
}

} // namespace

TEST_CASE("numbers and other plain values", "[wire][codec]") {
    CHECK(survives(1));
    CHECK(survives(true));
    CHECK(survives(std::numeric_limits<long long>::min()));
    CHECK(survives(1.5L));
    CHECK(survives(colour::red));
    CHECK(survives(point{1, 2}));
    CHECK(survives(wide{3}));
    CHECK(survives(no_default(4)));
    CHECK(survives(std::complex<double>(1, 2)));
    CHECK(survives(std::chrono::milliseconds(5)));
    CHECK(survives(std::chrono::system_clock::now()));
    CHECK(survives(std::bitset<70>("1011")));
    CHECK(survives(std::monostate()));
    CHECK(survives(std::tuple<>()));
    std::mt19937 engine(7);
    engine.discard(1000);
    CHECK(survives(engine));
}

TEST_CASE("strings and paths", "[wire][codec]") {
    for (const std::size_t n :
         {std::size_t{0}, std::size_t{1}, out_of_band_from - 1, out_of_band_from, std::size_t{100'000}}) {
        CAPTURE(n);
        CHECK(survives(std::string(n, 'x')));
        CHECK(survives(std::wstring(n, L'x')));
        CHECK(survives(std::u8string(n, u8'x')));
        CHECK(survives(std::pmr::string(n, 'x')));
    }
    CHECK(survives(std::string("a\0b", 3)));
    CHECK(survives(std::filesystem::path("/a/b c")));
    CHECK(survives(std::filesystem::path()));
}

TEMPLATE_TEST_CASE("sequences, empty and not", "[wire][codec]", std::vector<int>, std::list<int>, std::deque<int>,
                   std::forward_list<int>, std::set<int>, std::multiset<int>, std::unordered_set<int>,
                   std::unordered_multiset<int>, std::pmr::vector<int>) {
    CHECK(survives(TestType()));
    CHECK(survives(TestType({3, 1, 2, 2})));
    std::vector<int> many(3'000);
    for (std::size_t i = 0; i != many.size(); ++i) many[i] = static_cast<int>(i * 7 % 1'000);
    CHECK(survives(TestType(many.begin(), many.end())));
    CHECK(survives(std::vector<TestType>{TestType({1}), TestType(), TestType({1, 2})}));
}

TEMPLATE_TEST_CASE("sequences of strings and of booleans", "[wire][codec]", std::vector<std::string>,
                   std::list<std::string>, std::deque<std::string>, std::set<std::string>, std::vector<bool>,
                   std::deque<bool>) {
    using element = typename TestType::value_type;
    CHECK(survives(TestType()));
    if constexpr (std::is_same_v<element, bool>)
        CHECK(survives(TestType{true, false, true}));
    else
        CHECK(survives(TestType{"a", std::string(10'000, 'b'), ""}));
}

TEMPLATE_TEST_CASE("maps", "[wire][codec]", (std::map<std::string, int>), (std::multimap<std::string, int>),
                   (std::unordered_map<std::string, int>), (std::unordered_multimap<std::string, int>),
                   (std::map<std::string, int, std::greater<>>)) {
    CHECK(survives(TestType()));
    CHECK(survives(TestType{{"a", 1}, {"a", 2}, {"b", 3}}));
}

TEST_CASE("queues and stacks", "[wire][codec]") {
    CHECK(survives(std::queue<int>({1, 2, 3})));
    CHECK(survives(std::queue<int>()));
    CHECK(survives(std::stack<std::string>({"a", "b"})));
    std::priority_queue<int> largest_first;
    std::priority_queue<int, std::vector<int>, std::greater<>> smallest_first;
    for (const int i : {3, 9, 1, 4}) {
        largest_first.push(i);
        smallest_first.push(i);
    }
    CHECK(drained(round_trip(largest_first)) == std::vector{9, 4, 3, 1});
    CHECK(drained(round_trip(smallest_first)) == std::vector{1, 3, 4, 9});
}

TEST_CASE("valarrays", "[wire][codec]") {
    for (const std::size_t n : {std::size_t{0}, std::size_t{5}, std::size_t{5'000}}) {
        const std::valarray<double> sent(2.5, n);
        const std::valarray<double> got = round_trip(sent);
        CHECK(std::vector(std::begin(got), std::end(got)) == std::vector(std::begin(sent), std::end(sent)));
    }
}

TEST_CASE("pairs, tuples, optionals, variants", "[wire][codec]") {
    CHECK(survives(std::pair<int, std::string>(1, "a")));
    CHECK(survives(std::tuple<char, std::string, point>('c', "a", {1, 2})));
    CHECK(survives(std::optional<int>()));
    CHECK(survives(std::optional<int>(3)));
    CHECK(survives(std::optional<std::string>()));
    CHECK(survives(std::optional<std::string>("x")));
    CHECK(survives(std::optional<std::optional<std::string>>(std::optional<std::string>())));
    CHECK(survives(std::variant<int, double>(2.5)));
    CHECK(survives(std::variant<int, std::string>("x")));
    CHECK(survives(std::variant<std::string, std::string>(std::in_place_index<1>, "x")));
    CHECK(survives(std::array<std::string, 3>{"a", "", "c"}));
    CHECK(survives(std::vector<std::pair<int, std::string>>{{1, "a"}, {2, ""}}));
}

TEST_CASE("functions and members", "[wire][codec]") {
    CHECK(survives(&twice));
    CHECK(survives(static_cast<int (*)(int)>(nullptr)));
    CHECK(survives(&point::x));
    CHECK(survives(&point::operator==));
    CHECK(survives(std::optional<int (*)(int)>(&twice)));
    const method_member m = round_trip(method_member{1, &point::operator==});
    CHECK((m.f == &point::operator== && m.x == 1));
}

TEST_CASE("smart pointers", "[wire][codec]") {
    CHECK(*round_trip(std::make_unique<std::string>("x")) == "x");
    CHECK(round_trip(std::unique_ptr<int>()) == nullptr);
    CHECK(*round_trip(std::unique_ptr<const int>(new int(3))) == 3);
    CHECK(*round_trip(std::make_shared<std::vector<int>>(5, 1)) == std::vector<int>(5, 1));
    CHECK(round_trip(std::shared_ptr<int>()) == nullptr);
    CHECK(*round_trip(std::shared_ptr<const int>(std::make_shared<int>(3))) == 3);
    const auto moved = round_trip(std::vector<std::unique_ptr<int>>());
    CHECK(moved.empty());
}

TEST_CASE("one shared object stays one", "[wire][codec]") {
    const auto p = std::make_shared<int>(3);
    const auto q = std::make_shared<int>(3);
    const auto got = round_trip(std::vector<std::shared_ptr<int>>{p, q, p, nullptr, p});
    CHECK(got[0] == got[2]);
    CHECK(got[0] == got[4]);
    CHECK(got[0] != got[1]);
    CHECK(got[3] == nullptr);
    CHECK(*got[0] == 3);
}

TEST_CASE("many shared objects stay what they are", "[wire][codec]") {
    constexpr std::size_t n = 20'000;
    std::vector<std::shared_ptr<std::size_t>> given;
    for (std::size_t i = 0; i != n; ++i) given.push_back(std::make_shared<std::size_t>(i));
    for (std::size_t i = 0; i != n; ++i) given.push_back(given[n - 1 - i]);
    const auto got = round_trip(given);
    bool right = got.size() == 2 * n;
    for (std::size_t i = 0; right && i != n; ++i) right = *got[i] == i && got[n + i] == got[n - 1 - i];
    CHECK(right);
}

TEST_CASE("an object and its first member have one address, but are two objects", "[wire][codec]") {
    const auto whole = std::make_shared<std::pair<std::string, int>>("text", 1);
    const std::shared_ptr<std::string> part(whole, &whole->first);
    const auto [a, b] = round_trip(std::pair(whole, part));
    CHECK(a->first == "text");
    CHECK(*b == "text");
    const auto [c, d] = round_trip(std::pair(part, whole));
    CHECK(*c == "text");
    CHECK(d->second == 1);
}

TEST_CASE("move-only values", "[wire][codec]") {
    std::map<int, std::unique_ptr<std::string>> m;
    m.emplace(1, std::make_unique<std::string>("a"));
    std::deque<std::unique_ptr<int>> d;
    d.push_back(std::make_unique<int>(4));
    d.push_back(nullptr);
    CHECK(*round_trip(m).at(1) == "a");
    const auto got = round_trip(d);
    CHECK((got.size() == 2 && *got[0] == 4 && !got[1]));
    const auto v = round_trip(std::tuple(std::make_unique<int>(1), std::optional(std::make_unique<int>(2))));
    CHECK(*std::get<0>(v) + **std::get<1>(v) == 3);
}

TEST_CASE("plain classes in each other", "[wire][codec]") {
    const inner in{"name", point{1, 2}, {wide{1}, wide{2}, wide{3}}};
    CHECK(survives(in));
    CHECK(survives(inner{}));
    CHECK(survives(outer{in, {{"a", {in, {}}}, {"b", {}}}, in, {"x", "y"}, 7}));
    CHECK(survives(tree{1, {{2, {{3, {}}}}, {4, {}}}}));
}

TEST_CASE("elements that are aligned to more than the stream", "[wire][codec]") {
    CHECK(survives(std::vector<wide>{wide{1}, wide{2}}));
    CHECK(survives(std::vector<wide>(1'000, wide{5})));
    CHECK(survives(std::pair(std::string("odd"), std::vector<wide>(3, wide{1}))));
    CHECK(survives(std::list<wide>{wide{1}, wide{2}}));
}

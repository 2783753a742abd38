// SPDX-License-Identifier: BSL-1.0
// Which types travel to another process, and in which way.

#include <joblot/wire/kinds.hpp>

#include <catch2/catch_test_macros.hpp>

#include <any>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <source_location>
#include <span>
#include <stack>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <typeindex>
#include <unordered_map>
#include <unordered_set>
#include <valarray>
#include <variant>
#include <vector>

namespace {

using joblot::detail::is_raw;
using joblot::detail::travels;
using joblot::detail::way;
using joblot::detail::way_v;

enum class colour { red };
struct point {
    double x, y;
    double length() const { return x + y; }
};

using function = int (*)(int);

struct polymorphic {
    virtual ~polymorphic() = default;
    int i = 0;
};

struct by_size {
    bool descending;
    bool operator()(int a, int b) const { return descending ? a > b : a < b; }
};

template <class T, way How>
inline constexpr bool goes = way_v<T> == How;

} // namespace

TEST_CASE("what goes byte by byte", "[wire][kinds]") {
    STATIC_REQUIRE(goes<int, way::raw>);
    STATIC_REQUIRE(goes<bool, way::raw>);
    STATIC_REQUIRE(goes<const double, way::raw>);
    STATIC_REQUIRE(goes<colour, way::raw>);
    STATIC_REQUIRE(goes<std::byte, way::raw>);
    STATIC_REQUIRE(goes<double point::*, way::raw>);
    __extension__ using wide = __int128; // no number in the eyes of std::is_arithmetic
    STATIC_REQUIRE(goes<wide, way::raw>);
    STATIC_REQUIRE_FALSE(travels<std::nullptr_t>);
    STATIC_REQUIRE(goes<point, way::raw>);
    STATIC_REQUIRE(goes<std::array<int, 3>, way::raw>);
    STATIC_REQUIRE(goes<std::array<point, 100000>, way::raw>);
    STATIC_REQUIRE(goes<std::complex<double>, way::raw>);
    STATIC_REQUIRE(goes<std::chrono::milliseconds, way::raw>);
    STATIC_REQUIRE(goes<std::chrono::system_clock::time_point, way::raw>);
    STATIC_REQUIRE(goes<std::bitset<70>, way::raw>);
    STATIC_REQUIRE(goes<std::mt19937, way::raw>);
    STATIC_REQUIRE(goes<std::monostate, way::empty>);
    STATIC_REQUIRE(goes<std::less<>, way::empty>);
    STATIC_REQUIRE(goes<std::tuple<>, way::empty>);
}

TEST_CASE("containers", "[wire][kinds]") {
    STATIC_REQUIRE(goes<std::string, way::block>);
    STATIC_REQUIRE(goes<std::wstring, way::block>);
    STATIC_REQUIRE(goes<std::vector<double>, way::block>);
    STATIC_REQUIRE(goes<std::vector<point>, way::block>);
    STATIC_REQUIRE(goes<std::pmr::vector<double>, way::block>);
    STATIC_REQUIRE(goes<std::valarray<double>, way::block>);
    STATIC_REQUIRE(goes<std::vector<bool>, way::sequence>);
    STATIC_REQUIRE(goes<std::vector<std::string>, way::sequence>);
    STATIC_REQUIRE(goes<std::vector<std::vector<double>>, way::sequence>);
    STATIC_REQUIRE(goes<std::map<int, std::string>, way::sequence>);
    STATIC_REQUIRE(goes<std::multimap<int, int>, way::sequence>);
    STATIC_REQUIRE(goes<std::set<int>, way::sequence>);
    STATIC_REQUIRE(goes<std::multiset<int, std::greater<>>, way::sequence>);
    STATIC_REQUIRE(goes<std::unordered_map<std::string, int>, way::sequence>);
    STATIC_REQUIRE(goes<std::unordered_multiset<int>, way::sequence>);
    STATIC_REQUIRE(goes<std::list<int>, way::sequence>);
    STATIC_REQUIRE(goes<std::forward_list<int>, way::sequence>);
    STATIC_REQUIRE(goes<std::deque<point>, way::sequence>);
    STATIC_REQUIRE(goes<std::queue<int>, way::adaptor>);
    STATIC_REQUIRE(goes<std::stack<std::string>, way::adaptor>);
    STATIC_REQUIRE(goes<std::priority_queue<int>, way::adaptor>);
    STATIC_REQUIRE(goes<std::filesystem::path, way::text>);
}

TEST_CASE("a container whose order or hash has a state of its own stays at home", "[wire][kinds]") {
    using compare = bool (*)(int, int);
    STATIC_REQUIRE_FALSE(travels<std::set<int, by_size>>);
    STATIC_REQUIRE_FALSE(travels<std::map<int, int, compare>>); // would be a null pointer on the other side
    STATIC_REQUIRE_FALSE(travels<std::priority_queue<int, std::vector<int>, compare>>);
    STATIC_REQUIRE_FALSE(travels<std::unordered_set<int, std::function<std::size_t(int)>>>);
    const auto less = [](int a, int b) { return a < b; };
    STATIC_REQUIRE(travels<std::set<int, decltype(less)>>);
}

TEST_CASE("other standard types", "[wire][kinds]") {
    STATIC_REQUIRE(goes<std::pair<int, int>, way::pair>);
    STATIC_REQUIRE(goes<std::tuple<int, std::string>, way::tuple>);
    STATIC_REQUIRE(goes<std::array<std::string, 3>, way::array>);
    STATIC_REQUIRE(goes<std::array<function, 3>, way::array>);
    STATIC_REQUIRE(goes<std::optional<std::string>, way::optional>);
    STATIC_REQUIRE(goes<std::optional<int>, way::optional>);
    STATIC_REQUIRE(goes<std::variant<int, std::string>, way::variant>);
    STATIC_REQUIRE(goes<std::variant<int, double>, way::variant>); // by its bytes its number could not be checked
    STATIC_REQUIRE(goes<std::unique_ptr<int>, way::pointer>);
    STATIC_REQUIRE(goes<std::unique_ptr<const std::string>, way::pointer>);
    STATIC_REQUIRE(goes<std::shared_ptr<std::string>, way::shared>);
    STATIC_REQUIRE(goes<std::shared_ptr<const int>, way::shared>);
    STATIC_REQUIRE(goes<joblot::broadcasted<std::vector<double>>, way::handle>);
    STATIC_REQUIRE_FALSE(travels<joblot::broadcasted<std::vector<int*>>>);
}

TEST_CASE("functions travel by their place, wherever they are", "[wire][kinds]") {
    STATIC_REQUIRE(goes<function, way::function>);
    STATIC_REQUIRE(goes<int (*)(int) noexcept, way::function>);
    STATIC_REQUIRE(goes<double (point::*)() const, way::member_function>);
    // never by their bytes: addresses differ from process to process
    STATIC_REQUIRE_FALSE(is_raw<std::optional<function>>);
    STATIC_REQUIRE_FALSE(is_raw<std::optional<double (point::*)() const>>);
    STATIC_REQUIRE_FALSE(is_raw<std::variant<int, function>>);
    STATIC_REQUIRE(travels<std::optional<function>>);
    STATIC_REQUIRE_FALSE(is_raw<decltype(std::not_fn(std::declval<function>()))>);
}

TEST_CASE("pointers and what hides them stay at home", "[wire][kinds]") {
    STATIC_REQUIRE_FALSE(travels<int*>);
    STATIC_REQUIRE_FALSE(travels<const char*>);
    STATIC_REQUIRE_FALSE(travels<void*>);
    STATIC_REQUIRE_FALSE(travels<std::string_view>);
    STATIC_REQUIRE_FALSE(travels<std::span<int>>);
    STATIC_REQUIRE_FALSE(travels<std::reference_wrapper<int>>);
    STATIC_REQUIRE_FALSE(travels<std::initializer_list<int>>);
    STATIC_REQUIRE_FALSE(travels<std::vector<int>::iterator>);
    STATIC_REQUIRE_FALSE(travels<std::any>);
    STATIC_REQUIRE_FALSE(travels<std::function<int()>>);
    STATIC_REQUIRE_FALSE(travels<std::exception_ptr>);
    STATIC_REQUIRE_FALSE(travels<std::type_index>);
    STATIC_REQUIRE_FALSE(travels<std::source_location>);
    STATIC_REQUIRE_FALSE(travels<std::thread>);
    STATIC_REQUIRE_FALSE(travels<std::mutex>);
    STATIC_REQUIRE_FALSE(travels<std::weak_ptr<int>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<int[]>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<polymorphic>>);
    STATIC_REQUIRE_FALSE(travels<std::shared_ptr<polymorphic>>);
    STATIC_REQUIRE_FALSE(travels<polymorphic>);
    STATIC_REQUIRE_FALSE(travels<std::optional<int*>>);
    STATIC_REQUIRE_FALSE(travels<std::pair<const char*, int>>);
    STATIC_REQUIRE_FALSE(travels<std::pair<int&, int>>);
    STATIC_REQUIRE_FALSE(travels<std::tuple<int, int*>>);
    STATIC_REQUIRE_FALSE(travels<std::map<int, int*>>);
    STATIC_REQUIRE_FALSE(travels<std::vector<std::span<int>>>);
    STATIC_REQUIRE_FALSE(travels<std::array<int*, 3>>);
}

TEST_CASE("closures travel if they capture nothing", "[wire][kinds]") {
    int k = 3;
    const auto none = [](int i) { return i; };
    const auto copy = [k](int i) { return i + k; };
    const auto reference = [&k](int i) { return i + k; };
    const auto generic = [](auto x) { return x; };
    STATIC_REQUIRE(goes<decltype(none), way::empty>);
    STATIC_REQUIRE(goes<decltype(generic), way::empty>);
    STATIC_REQUIRE_FALSE(travels<decltype(copy)>);
    STATIC_REQUIRE_FALSE(travels<decltype(reference)>);
    STATIC_REQUIRE_FALSE(travels<std::tuple<int, decltype(copy)>>);
    STATIC_REQUIRE_FALSE(travels<std::optional<decltype(reference)>>);
    struct holder {
        decltype(copy) f;
        int x;
    };
    STATIC_REQUIRE_FALSE(travels<holder>);
    CHECK(copy(1) + reference(1) + none(1) + generic(1) == 10);
}

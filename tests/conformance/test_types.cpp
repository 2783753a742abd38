// SPDX-License-Identifier: BSL-1.0
// Types of widely used libraries in tasks: as an argument, a member of an aggregate, an element of a vector, and all of
// that as a result. On threads every movable type works; elsewhere a value arrives as it was, or is refused by name.

#include "../support/backends.hpp"
#include "../support/wire.hpp"

#include <joblot/eigen.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Geometry>
#include <boost/any.hpp>
#include <boost/circular_buffer.hpp>
#include <boost/container/flat_map.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/container/vector.hpp>
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/dynamic_bitset.hpp>
#include <boost/logic/tribool.hpp>
#include <boost/multiprecision/cpp_dec_float.hpp>
#include <boost/multiprecision/cpp_int.hpp>
#include <boost/numeric/interval.hpp>
#include <boost/numeric/ublas/matrix.hpp>
#include <boost/numeric/ublas/vector.hpp>
#include <boost/optional.hpp>
#include <boost/property_tree/ptree.hpp>
#include <boost/rational.hpp>
#include <boost/unordered_map.hpp>
#include <boost/utility/string_view.hpp>
#include <boost/uuid/uuid.hpp>
#include <boost/variant.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <tbb/blocked_range.h>
#include <tbb/concurrent_unordered_map.h>
#include <tbb/concurrent_vector.h>

#include <any>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstdio>
#include <deque>
#include <exception>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <random>
#include <ranges>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <unordered_map>
#include <unordered_set>
#include <valarray>
#include <variant>
#include <vector>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // what Boost's own classes are derived from

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

template <class T>
struct holder { // a plain aggregate around it
    std::string before;
    T value;
    int after;
};
template <class T>
struct all_forms {
    T alone;
    holder<T> member;
    std::vector<T> elements;
};

template <class Make>
using made = std::invoke_result_t<Make, int>;

template <class T>
all_forms<T> pass_on(T alone, holder<T> member, std::vector<T> elements) {
    return {std::move(alone), std::move(member), std::move(elements)};
}

template <class T>
bool same(const T& a, const T& b) {
    if constexpr (std::is_same_v<T, std::valarray<double>>)
        return a.size() == b.size() && (a == b).min();
    else if constexpr (joblot::detail::is_unique_pointer<T> || joblot::detail::is_shared_pointer<T>)
        return *a == *b;
    else if constexpr (requires { a.isApprox(b); })
        return a.isApprox(b);
    else if constexpr (requires {
                           { a == b } -> std::convertible_to<bool>;
                       })
        return static_cast<bool>(a == b);
    else
        return true;
}

constexpr bool arrives = true, stays = false;

/// Values of one type, made by a function without captures, through a call.
template <class Make>
void check(const support::backend_case& on, const char* name, Make make, bool travels) {
    using T = made<Make>;
    CAPTURE(name);
    STATIC_REQUIRE(std::is_same_v<joblot::task_result_t<decltype(delayed(pass_on<T>)(
                                      std::declval<T>(), std::declval<holder<T>>(), std::declval<std::vector<T>>()))>,
                                  all_forms<T>>);
    const auto elements = [&](int i) {
        std::vector<T> all;
        all.push_back(make(i));
        all.push_back(make(i + 1));
        return all;
    };
    const auto tasks = views::iota(1, 3) | views::transform([&](int i) {
                           return delayed(pass_on<T>)(make(i), holder<T>{"text", make(i), i}, elements(i));
                       });
    const bool must_travel = !on.shared_memory;
    if (must_travel && !travels) {
        // forked processes have the arguments; only the result is sent
        const std::string where = on.closures ? "its result" : "argument 1";
        CHECK_THROWS_WITH(Parallel({.n_jobs = 2})(tasks),
                          Catch::Matchers::ContainsSubstring(where) && !Catch::Matchers::ContainsSubstring("\n"));
        return;
    }
    std::vector<all_forms<T>> results = Parallel({.n_jobs = 2})(tasks);
    REQUIRE(results.size() == 2);
    for (int i : {1, 2}) {
        const all_forms<T>& r = results[static_cast<std::size_t>(i - 1)];
        CHECK(same<T>(r.alone, make(i)));
        CHECK((same<T>(r.member.value, make(i)) && r.member.before == "text" && r.member.after == i));
        REQUIRE(r.elements.size() == 2);
        CHECK(same<T>(r.elements[1], make(i + 1)));
    }
}

// --- what a user may have of their own

struct opaque; // defined in some other source file
struct closes {
    void operator()(std::FILE*) const {}
};
class ring { // of a fixed capacity, declared as a container: it is made of its elements
public:
    using value_type = double;
    template <class I>
    ring(I first, I last) : all_(first, last) {}
    [[nodiscard]] auto begin() const { return all_.begin(); }
    [[nodiscard]] auto end() const { return all_.end(); }
    bool operator==(const ring&) const = default;

private:
    std::vector<double> all_;
};
class grid { // by functions of its own
public:
    grid(std::size_t rows, std::size_t columns, const double* cells)
        : rows_(rows), cells_(cells, cells + rows * columns) {}
    [[nodiscard]] std::size_t rows() const { return rows_; }
    [[nodiscard]] const std::vector<double>& cells() const { return cells_; }
    bool operator==(const grid&) const = default;

private:
    std::size_t rows_;
    std::vector<double> cells_;
};
class money { // its bytes say all
public:
    explicit money(long cents) : cents_(cents) {}
    bool operator==(const money&) const = default;

private:
    long cents_;
};
struct series : std::vector<double> { // has more than its elements
    using std::vector<double>::vector;
    std::string name;
};
class tree : public std::vector<tree> {
public:
    tree() = default;
    explicit tree(int n) : n_(n) {}
    [[nodiscard]] int number() const { return n_; }

private:
    int n_ = 0;
};

} // namespace

template <>
struct joblot::travel<ring> : joblot::travels_as_container {};
template <>
struct joblot::travel<money> : joblot::travels_as_bytes {};
template <>
struct joblot::travel<grid> {
    template <class Archive>
    static void save(Archive& to, const grid& g) {
        to(g.rows());
        to(g.cells().size() / g.rows());
        to.elements(g.cells().data(), g.cells().size());
    }
    template <class Archive>
    static grid load(Archive& from) {
        const auto rows = from.template read<std::size_t>(), columns = from.template read<std::size_t>();
        return grid(rows, columns, from.template elements<double>(rows * columns).data());
    }
};

TEST_CASE("types of the standard library", "[types]") {
    JOBLOT_FOR_EACH_BACKEND(on);
    using std::string;
    const auto go = [&](const char* name, auto make, bool travels) { check(on, name, make, travels); };
    go("string", [](int i) { return string(5'000, static_cast<char>('a' + i)); }, arrives);
    go("vector<bool>", [](int i) { return std::vector<bool>{i % 2 == 0, true}; }, arrives);
    go("deque", [](int i) { return std::deque<string>{std::to_string(i), "x"}; }, arrives);
    go("forward_list", [](int i) { return std::forward_list<int>{i, 2}; }, arrives);
    go("map", [](int i) { return std::map<string, std::vector<int>>{{"a", {i}}, {"b", {}}}; }, arrives);
    go("multiset", [](int i) { return std::multiset<int, std::greater<>>{i, i, 7}; }, arrives);
    go("unordered_map", [](int i) { return std::unordered_map<int, string>{{i, "x"}}; }, arrives);
    go("array", [](int i) { return std::array<string, 2>{std::to_string(i), ""}; }, arrives);
    go("tuple", [](int i) { return std::tuple<int, string, char>{i, "t", 'c'}; }, arrives);
    go("optional", [](int i) { return i % 2 ? std::optional<string>("x") : std::nullopt; }, arrives);
    go("variant", [](int i) { return i % 2 ? std::variant<int, string>(i) : std::variant<int, string>("x"); }, arrives);
    go(
        "error_code",
        [](int i) { return std::error_code(i, i % 2 ? std::system_category() : std::iostream_category()); }, arrives);
    go("error_condition", [](int i) { return std::error_condition(i, std::generic_category()); }, arrives);
    go("unique_ptr", [](int i) { return std::make_unique<int>(i); }, arrives);
    go("shared_ptr", [](int i) { return std::make_shared<string>(std::to_string(i)); }, arrives);
    go("complex", [](int i) { return std::complex<double>(i, 1); }, arrives);
    go("time_point", [](int i) { return std::chrono::system_clock::time_point(std::chrono::seconds(i)); }, arrives);
    go(
        "year_month_day",
        [](int i) { return std::chrono::year_month_day(std::chrono::sys_days(std::chrono::days(i))); }, arrives);
    go("bitset", [](int i) { return std::bitset<70>(static_cast<unsigned>(i)); }, arrives);
    go("valarray", [](int i) { return std::valarray<double>(i, 1'000); }, arrives);
    go("path", [](int i) { return std::filesystem::path("a") / std::to_string(i); }, arrives);
    go("mt19937", [](int i) { return std::mt19937(static_cast<unsigned>(i)); }, arrives);
    go("pmr::vector", [](int i) { return std::pmr::vector<int>{i, 2, 3}; }, arrives);
    go("string_view", [](int i) { return i % 2 ? std::string_view("odd") : std::string_view("even"); }, stays);
    go("span", [](int) { return std::span<const int>(); }, stays);
    go("any", [](int i) { return std::any(i); }, stays);
    go("function", [](int i) { return std::function<int()>([i] { return i; }); }, stays);
    go(
        "reference_wrapper",
        [](int) {
            static int n = 0;
            return std::ref(n);
        },
        stays);
    go(
        "exception_ptr",
        [](int i) {
            static const auto one = std::make_exception_ptr(1);
            return i ? one : nullptr;
        },
        stays);
    go("weak_ptr", [](int) { return std::weak_ptr<int>(); }, stays);
    go("iterator", [](int) { return std::vector<int>::iterator(); }, stays);
    go("type_index", [](int) { return std::type_index(typeid(int)); }, stays);
    go("stop_token", [](int) { return std::stop_token(); }, stays);
    go("locale", [](int) { return std::locale(); }, stays);
    go("unique_ptr with a deleter", [](int) { return std::unique_ptr<std::FILE, closes>(); }, stays);
    go("pointer to what is only declared", [](int) { return std::shared_ptr<opaque>(); }, stays);
    go("pointer to characters", [](int) { return "text"; }, stays);
}

TEST_CASE("types of other libraries", "[types]") {
    JOBLOT_FOR_EACH_BACKEND(on);
    const auto go = [&](const char* name, auto make, bool travels) { check(on, name, make, travels); };
    go("Vector3d", [](int i) { return Eigen::Vector3d(i, 1, 2); }, arrives);
    go("Vector4f", [](int i) { return Eigen::Vector4f(static_cast<float>(i), 1, 2, 3); }, arrives);
    go("VectorXd", [](int i) { return Eigen::VectorXd(Eigen::VectorXd::Constant(1'000, i)); }, arrives);
    go("ArrayXXf", [](int i) { return Eigen::ArrayXXf(Eigen::ArrayXXf::Constant(3, i, 2)); }, arrives);
    go("MatrixXcd", [](int i) { return Eigen::MatrixXcd(Eigen::MatrixXcd::Constant(i, 3, {1, 2})); }, arrives);
    go(
        "SparseMatrix",
        [](int i) {
            Eigen::SparseMatrix<double> m(5, 7);
            m.insert(i, 2) = i;
            m.insert(0, 6) = 1;
            return m;
        },
        arrives);
    go("Quaterniond", [](int i) { return Eigen::Quaterniond(i, 0, 0, 1); }, arrives);
    go(
        "Affine3d",
        [](int i) {
            Eigen::Affine3d t(Eigen::Affine3d::Identity());
            t.translation() << i, 1, 2;
            return t;
        },
        arrives);
    go("a decomposition", [](int) { return Eigen::LLT<Eigen::MatrixXd>(); }, stays);

    go("boost::optional", [](int i) { return boost::optional<std::string>(std::to_string(i)); }, stays);
    go("boost::variant", [](int i) { return boost::variant<int, std::string>(i); }, stays);
    go("boost::any", [](int i) { return boost::any(i); }, stays);
    go("boost::string_view", [](int) { return boost::string_view("text"); }, stays);
    go("boost::container::vector", [](int i) { return boost::container::vector<int>{i, 2}; }, stays);
    go("boost::small_vector", [](int i) { return boost::container::small_vector<int, 4>{i, 2}; }, stays);
    go("boost::flat_map", [](int i) { return boost::container::flat_map<int, int>{{i, 2}}; }, stays);
    go("boost::unordered_map", [](int i) { return boost::unordered_map<int, int>{{i, 2}}; }, stays);
    go("boost::circular_buffer", [](int i) { return boost::circular_buffer<int>(5, i); }, stays);
    go("boost::dynamic_bitset", [](int i) { return boost::dynamic_bitset<>(70, static_cast<unsigned>(i)); }, stays);
    go("cpp_int", [](int i) { return boost::multiprecision::cpp_int(i); }, stays);
    go("cpp_dec_float_50", [](int i) { return boost::multiprecision::cpp_dec_float_50(i); }, stays);
    go("ublas::vector", [](int) { return boost::numeric::ublas::vector<double>(3, 1.0); }, stays);
    go("ublas::matrix", [](int) { return boost::numeric::ublas::matrix<double>(3, 2, 1.0); }, stays);
    go(
        "ptree",
        [](int i) {
            boost::property_tree::ptree p;
            p.put("a.b", i);
            return p;
        },
        stays);
    go("ptime", [](int) { return boost::posix_time::ptime(); }, stays);
    go("interval", [](int i) { return boost::numeric::interval<double>(i); }, stays);
    go("tribool", [](int) { return boost::logic::tribool(true); }, arrives);
    go("rational", [](int i) { return boost::rational<int>(i, 3); }, arrives);
    go("uuid", [](int i) { return boost::uuids::uuid{{static_cast<std::uint8_t>(i)}}; }, arrives);

    go("json", [](int i) { return nlohmann::json{{"id", i}}; }, stays);
    go("ordered_json", [](int i) { return nlohmann::ordered_json{{"id", i}}; }, stays);
    go("json_pointer", [](int) { return nlohmann::json::json_pointer("/a"); }, stays);

    go("fmt::string_view", [](int) { return fmt::string_view("text"); }, stays);
    go("fmt::memory_buffer", [](int) { return fmt::memory_buffer(); }, stays);
    go("fmt::text_style", [](int) { return fmt::text_style(fmt::emphasis::bold); }, arrives);

    go("tbb::blocked_range", [](int i) { return tbb::blocked_range<int>(0, i); }, stays);
    go("tbb::concurrent_vector", [](int i) { return tbb::concurrent_vector<int>{i, 2}; }, stays);
    go("tbb::concurrent_unordered_map", [](int i) { return tbb::concurrent_unordered_map<int, int>{{i, 2}}; }, stays);
}

TEST_CASE("classes of one's own", "[types]") {
    JOBLOT_FOR_EACH_BACKEND(on);
    const auto go = [&](const char* name, auto make, bool travels) { check(on, name, make, travels); };
    go(
        "declared as a container",
        [](int i) {
            const std::vector<double> v(1'000, i);
            return ring(v.begin(), v.end());
        },
        arrives);
    go("declared as its bytes", [](int i) { return money(i); }, arrives);
    go(
        "declared by functions",
        [](int i) {
            const std::vector<double> v(6, i);
            return grid(2, 3, v.data());
        },
        arrives);
    go("derived from a container", [](int) { return series(3, 1.0); }, stays);
    go(
        "a container of itself",
        [](int i) {
            tree t(i);
            t.emplace_back(i);
            return t;
        },
        stays);
}

TEST_CASE("Eigen's numbers are not copied on their way out, and nonsense is refused", "[types]") {
    const Eigen::MatrixXd dense = Eigen::MatrixXd::Random(100, 70);
    const support::outgoing message = support::written(dense);
    REQUIRE(message.blocks.size() == 1);
    CHECK(static_cast<const void*>(message.blocks[0].data()) == dense.data());
    CHECK(support::read<Eigen::MatrixXd>(message.stream, message.blocks) == dense);
    CHECK_THROWS_AS((support::read<Eigen::Matrix<double, 70, Eigen::Dynamic>>(message.stream, message.blocks)),
                    joblot::serialization_error);

    Eigen::SparseMatrix<double> sparse(3, 3);
    sparse.insert(0, 0) = 1; // not compressed
    sparse.insert(2, 1) = 2;
    const support::outgoing bytes = support::written(sparse);
    const auto got = support::read<Eigen::SparseMatrix<double>>(bytes.stream, bytes.blocks);
    CHECK((got.isCompressed() && got.coeff(2, 1) == 2 && got.nonZeros() == 2));
    for (std::size_t i = 1; i + 1 < bytes.stream.size(); ++i) { // whatever is changed: refused, or a sound matrix
        support::message_copy broken(bytes);
        broken.stream[i] ^= std::byte{0x81};
        try {
            const auto m = support::read<Eigen::SparseMatrix<double>>(broken.stream, broken.blocks);
            for (Eigen::Index c = 0; c != m.outerSize(); ++c) {
                for (Eigen::SparseMatrix<double>::InnerIterator it(m, c); it; ++it) CHECK(it.row() < m.rows());
            }
        } catch (const joblot::serialization_error&) { // as it should be
        }
    }
}

// SPDX-License-Identifier: BSL-1.0
// What may be made of a class that joblot cannot see into: its author says how it travels, or it is refused, with the
// part, the reason and the way out. Asking always compiles.

#include "support/wire.hpp"

#include <joblot/dispatch/copyable.hpp>
#include <joblot/wire/remote_task.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <atomic>
#include <complex>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using joblot::detail::travels;
using joblot::detail::way;
using joblot::detail::way_v;
using joblot::detail::what_does_not_travel;

// --- what looks like something else

struct series : std::vector<double> {
    using std::vector<double>::vector;
    std::string name;
};
struct tagged : std::string {
    using std::string::string;
    int tag = 0;
};
struct counts : std::map<std::string, int> {
    using std::map<std::string, int>::map;
    int total = 0;
};
struct named_path : std::filesystem::path {
    using std::filesystem::path::path;
    std::string name;
};
class looks_like_a_vector {
public:
    using value_type = double;
    looks_like_a_vector(const double* first, std::size_t n) : all_(first, first + n) {}
    [[nodiscard]] const double* begin() const { return all_.data(); }
    [[nodiscard]] const double* end() const { return all_.data() + all_.size(); }

private:
    std::vector<double> all_;
};
class greedy { // any two numbers make one
public:
    using value_type = double;
    template <class I>
    greedy(I rows, I columns) : cells_(static_cast<std::size_t>(rows * columns)) {}
    [[nodiscard]] auto begin() const { return cells_.begin(); }
    [[nodiscard]] auto end() const { return cells_.end(); }

private:
    std::vector<double> cells_;
};
template <class T>
class array_ref {
public:
    using value_type = T;
    constexpr array_ref(const T* first, std::size_t n) : first_(first), size_(n) {}
    [[nodiscard]] const T* begin() const { return first_; }
    [[nodiscard]] const T* end() const { return first_ + size_; }

private:
    const T* first_;
    std::size_t size_;
};
class handle { // looks like nothing
public:
    explicit handle(int* p) : p_(p) {}
    [[nodiscard]] int get() const { return *p_; }

private:
    int* p_;
};
class money {
public:
    explicit money(long cents) : cents_(cents) {}
    bool operator==(const money&) const = default;

private:
    long cents_;
};
class small_number { // no room for a pointer
public:
    explicit small_number(float x) : x_(x) {}
    bool operator==(const small_number&) const = default;

private:
    float x_;
};
struct has_money {
    std::string name;
    money amount;
};
struct plain_with_money {
    money amount;
    double x;
};
struct base_with_serialize {
    int a = 0;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(a);
    }
};
struct inherits_serialize : base_with_serialize {
    std::string name;
};
struct adds_nothing : base_with_serialize {};

// --- aggregates that cannot be taken apart

struct with_union {
    int kind;
    union {
        double d;
        const char* s;
    };
};
struct union_and_string {
    int kind;
    union {
        int i;
        double d;
    };
    std::string text;
};
struct nameless_and_string {
    __extension__ struct {
        int a, b;
    };
    std::string text;
};
union named_union {
    double d;
    const char* s;
};
struct named_union_and_string {
    std::string text;
    named_union u;
};
struct volatile_and_string {
    volatile int v;
    std::string text;
};
struct [[gnu::packed]] packed_pointer {
    char c;
    const char* p;
};
struct [[gnu::packed]] packed_number {
    char c;
    double d;
};
struct converts_from_anything {
    converts_from_anything() = default;
    template <class T>
    converts_from_anything(T&&) {} // NOLINT: on purpose
};
struct with_greedy_member {
    std::string text;
    converts_from_anything any;
    int k;
};

// --- aggregates that can

struct bits {
    unsigned red : 1;
    unsigned level : 5;
    std::string text;
    bool operator==(const bits&) const = default;
};
struct [[gnu::packed]] packed_and_vector {
    char c;
    double d;
    bool operator==(const packed_and_vector&) const = default;
};
#define JOBLOT_TEN(x) int x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7, x##8, x##9;
struct fields_64 {
    JOBLOT_TEN(a) JOBLOT_TEN(b) JOBLOT_TEN(c) JOBLOT_TEN(d) JOBLOT_TEN(e) JOBLOT_TEN(f) int x, y, z;
    std::string last;
    bool operator==(const fields_64&) const = default;
};
struct fields_65 {
    JOBLOT_TEN(a) JOBLOT_TEN(b) JOBLOT_TEN(c) JOBLOT_TEN(d) JOBLOT_TEN(e) JOBLOT_TEN(f) int v, x, y, z;
    std::string last;
};
#undef JOBLOT_TEN

// --- functions of other libraries

struct bitsery_form {
    template <class S>
    void serialize(S& s) {
        s.value4b(n);
        s.text1b(text, 10);
    }
    int n = 0;
    std::string text;
};
class zpp_form {
public:
    static constexpr auto serialize(auto& archive, auto& self) { return archive(self.n_, self.text_); }

private:
    int n_ = 0;
    std::string text_;
};
class json_form {
public:
    template <class Writer>
    void serialize(Writer& w) const {
        w.StartObject();
        w.Key("n");
        w.Int(n_);
    }

private:
    int n_ = 0;
    std::string text_;
};
class file_form {
public:
    template <class Path>
    void save(const Path& p) const {
        (void)p.string();
    }
    template <class Path>
    void load(const Path& p) {
        (void)p.string();
    }

private:
    std::string text_;
};
class boost_form {
public:
    template <class Archive>
    void serialize(Archive& archive, const unsigned) {
        archive.no_such_call(text_);
    }

private:
    std::string text_;
};
struct saves_only {
    std::unique_ptr<int> p;
    template <class Archive>
    void save(Archive& archive) const {
        archive(*p);
    }
};
struct hands_on_a_pointer {
    int* p = nullptr;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(p);
    }
};

// --- declared

class ring {
public:
    using value_type = std::string;
    template <class I>
    ring(I first, I last) : all_(first, last) {}
    [[nodiscard]] auto begin() const { return all_.begin(); }
    [[nodiscard]] auto end() const { return all_.end(); }
    bool operator==(const ring&) const = default;

private:
    std::vector<std::string> all_;
};
class grid {
public:
    grid(std::size_t n, std::span<const double> all) : rows(n), cells(all.begin(), all.end()) {}
    bool operator==(const grid&) const = default;
    std::size_t rows;
    std::vector<double> cells;
};
struct lock_of_a_file {
    int descriptor;
};
struct holds_lock {
    lock_of_a_file l;
    int k;
};
class declared_money {
public:
    explicit declared_money(long cents) : cents_(cents) {}
    bool operator==(const declared_money&) const = default;

private:
    long cents_;
};
template <class T>
class boxed {
public:
    explicit boxed(T v) : value(std::move(v)) {}
    T value;
};

template <class T>
struct counting_allocator { // has a state
    using value_type = T;
    int id = 0;
    counting_allocator() = default;
    template <class U>
    explicit counting_allocator(const counting_allocator<U>& other) : id(other.id) {}
    T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
    void deallocate(T* p, std::size_t n) { std::allocator<T>().deallocate(p, n); }
    bool operator==(const counting_allocator&) const = default;
};
class of_itself { // as a value of JSON is
public:
    using value_type = of_itself;
    [[nodiscard]] const of_itself* begin() const { return this; }
    [[nodiscard]] const of_itself* end() const { return this; }

private:
    std::unique_ptr<int> p_;
};
struct scene {
    std::vector<std::unique_ptr<int>> shapes;
    int k = 0;
};

struct opaque;
struct closes {
    void operator()(std::FILE*) const {}
};

template <class T>
bool survives(const T& value) {
    return support::round_trip(value) == value;
}

} // namespace

template <>
struct joblot::travel<ring> : joblot::travels_as_container {};
template <>
struct joblot::travel<lock_of_a_file> : joblot::never_travels {};
template <>
struct joblot::travel<declared_money> : joblot::travels_as_bytes {};
template <>
struct joblot::travel<grid> {
    template <class Archive>
    static void save(Archive& to, const grid& g) {
        to(g.rows, g.cells.size());
        to.elements(g.cells.data(), g.cells.size());
    }
    template <class Archive>
    static grid load(Archive& from) {
        const auto rows = from.template read<std::size_t>(), n = from.template read<std::size_t>();
        return grid(rows, from.template elements<double>(n));
    }
};
template <class T>
struct joblot::travel<boxed<T>> {
    static constexpr bool possible = joblot::detail::travels<T>;
    template <class Archive>
    static void save(Archive& to, const boxed<T>& b) {
        to(b.value);
    }
    template <class Archive>
    static boxed<T> load(Archive& from) {
        return boxed<T>(from.template read<T>());
    }
};

TEST_CASE("what only looks like a container, or derives from one, stays at home", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<series>);
    STATIC_REQUIRE_FALSE(travels<tagged>);
    STATIC_REQUIRE_FALSE(travels<counts>);
    STATIC_REQUIRE_FALSE(travels<named_path>);
    STATIC_REQUIRE_FALSE(travels<looks_like_a_vector>);
    STATIC_REQUIRE_FALSE(travels<greedy>);
    STATIC_REQUIRE_FALSE(travels<std::vector<series>>);
    STATIC_REQUIRE_FALSE(travels<std::map<std::string, counts>>);
}

TEST_CASE("views and handles stay at home, whatever they look like", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<array_ref<int>>);
    STATIC_REQUIRE_FALSE(travels<array_ref<std::string>>);
    STATIC_REQUIRE_FALSE(travels<handle>);
    STATIC_REQUIRE_FALSE(travels<money>); // who could tell it from a handle?
    STATIC_REQUIRE_FALSE(travels<has_money>);
    STATIC_REQUIRE_FALSE(travels<plain_with_money>);
    STATIC_REQUIRE_FALSE(travels<packed_pointer>);
    STATIC_REQUIRE(way_v<packed_number> == way::raw);
    STATIC_REQUIRE(way_v<small_number> == way::raw);
    CHECK(survives(small_number(1)));
}

TEST_CASE("a function for archives that is a base class's knows only the base", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<inherits_serialize>);
    STATIC_REQUIRE(way_v<adds_nothing> == way::user);
}

TEST_CASE("aggregates that cannot be taken apart are asked without an error", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<with_union>);
    STATIC_REQUIRE_FALSE(travels<union_and_string>);
    STATIC_REQUIRE_FALSE(travels<nameless_and_string>);
    STATIC_REQUIRE_FALSE(travels<named_union>);
    STATIC_REQUIRE_FALSE(travels<named_union_and_string>);
    STATIC_REQUIRE_FALSE(travels<volatile_and_string>);
    STATIC_REQUIRE_FALSE(travels<with_greedy_member>);
    STATIC_REQUIRE_FALSE(travels<fields_65>);
}

TEST_CASE("bit-fields, packed members and 64 members arrive", "[wire][travel]") {
    STATIC_REQUIRE(way_v<bits> == way::fields);
    CHECK(survives(bits{1, 17, "text"}));
    CHECK(survives(packed_and_vector{'c', 1.5}));
    fields_64 many{};
    many.a0 = 1;
    many.f9 = 2;
    many.z = 3;
    many.last = "last";
    CHECK(survives(many));
}

TEST_CASE("functions that were written for other libraries are no hindrance, and no promise", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<zpp_form>);
    STATIC_REQUIRE_FALSE(travels<json_form>);
    STATIC_REQUIRE_FALSE(travels<file_form>);
    STATIC_REQUIRE_FALSE(travels<boost_form>);
    STATIC_REQUIRE_FALSE(travels<std::vector<boost_form>>);
    using Catch::Matchers::ContainsSubstring;
    CHECK_THROWS_WITH(support::written(bitsery_form{}),
                      ContainsSubstring("bitsery_form") && ContainsSubstring("value4b"));
    CHECK_THROWS_WITH(support::written(hands_on_a_pointer{}), ContainsSubstring("it is a pointer"));
}

TEST_CASE("an allocator with a state of its own is not lost in silence", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<std::vector<int, counting_allocator<int>>>);
    STATIC_REQUIRE(travels<std::pmr::vector<int>>);
}

TEST_CASE("what is trivially copyable by name, but cannot be moved, is asked without an error", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<std::atomic<int>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<std::atomic<int>>>);
}

TEST_CASE("whether a value can be copied is asked of its parts", "[wire][travel]") {
    using joblot::detail::can_be_copied;
    STATIC_REQUIRE(can_be_copied<std::vector<std::string>>());
    STATIC_REQUIRE(can_be_copied<std::vector<std::shared_ptr<scene>>>());
    STATIC_REQUIRE_FALSE(can_be_copied<std::vector<std::unique_ptr<int>>>());
    STATIC_REQUIRE_FALSE(can_be_copied<std::map<int, std::vector<std::unique_ptr<int>>>>());
    STATIC_REQUIRE_FALSE(can_be_copied<scene>());
    STATIC_REQUIRE_FALSE(can_be_copied<std::optional<std::pair<int, scene>>>());
    const auto take = [](scene s) { return s.k; };
    const auto task = joblot::delayed(take)(scene{});
    STATIC_REQUIRE_FALSE(can_be_copied<std::remove_const_t<decltype(task)>>());
    STATIC_REQUIRE(can_be_copied<std::remove_const_t<decltype(joblot::delayed(take, "name"))>>());
    struct cannot_be_taken_apart {
        std::string texts[2];
    };
    STATIC_REQUIRE(can_be_copied<cannot_be_taken_apart>());
    STATIC_REQUIRE(can_be_copied<joblot::task<joblot::detail::labelled<cannot_be_taken_apart>, int>>());
}

TEST_CASE("what is only declared, or has a deleter of its own, is asked without an error", "[wire][travel]") {
    STATIC_REQUIRE_FALSE(travels<opaque>);
    STATIC_REQUIRE_FALSE(travels<std::shared_ptr<opaque>>);
    STATIC_REQUIRE_FALSE(travels<std::vector<std::shared_ptr<opaque>>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<opaque>>);
    STATIC_REQUIRE_FALSE(travels<std::reference_wrapper<const opaque>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<std::FILE, closes>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<std::FILE, int (*)(std::FILE*)>>);
}

TEST_CASE("authors say how their classes travel", "[wire][travel]") {
    STATIC_REQUIRE(way_v<ring> == way::sequence);
    STATIC_REQUIRE(way_v<grid> == way::declared);
    STATIC_REQUIRE(way_v<declared_money> == way::raw);
    STATIC_REQUIRE_FALSE(travels<lock_of_a_file>);
    STATIC_REQUIRE_FALSE(travels<holds_lock>);
    STATIC_REQUIRE(travels<boxed<std::string>>);
    STATIC_REQUIRE_FALSE(travels<boxed<int*>>);
    const std::vector<std::string> words{"a", std::string(10'000, 'b')};
    CHECK(survives(ring(words.begin(), words.end())));
    CHECK(survives(declared_money(3)));
    CHECK(survives(std::pair(std::string("odd"), grid(2, std::vector<double>(6, 1.0)))));
    CHECK(support::round_trip(boxed<std::string>("text")).value == "text");
}

TEST_CASE("elements that a class declares are not copied on their way out", "[wire][travel]") {
    const grid g(10, std::vector<double>(5'000, 1.0));
    const support::outgoing message = support::written(g);
    REQUIRE(message.blocks.size() == 1);
    CHECK(static_cast<const void*>(message.blocks[0].data()) == g.cells.data());
    // but they are where the class itself is only handed on
    const support::outgoing handed_on = support::written(boxed<grid>(g));
    REQUIRE(handed_on.blocks.size() == 1);
    CHECK(handed_on.owned.size() == 1);
}

TEST_CASE("a number of elements that cannot be there is refused", "[wire][travel]") {
    support::outgoing message = support::written(grid(1, std::vector<double>(3, 1.0)));
    message.patch(1 + sizeof(std::size_t), std::size_t{1} << 60);
    CHECK_THROWS_AS(support::read<grid>(message.stream, message.blocks), joblot::serialization_error);
}

TEST_CASE("a refusal says which part, why, and what to do", "[wire][travel]") {
    struct fit {
        std::string name;
        std::vector<looks_like_a_vector> betas;
    };
    using Catch::Matchers::ContainsSubstring;
    using Catch::Matchers::StartsWith;
    const std::string where = what_does_not_travel<std::pair<int, fit>>("argument 2");
    CHECK_THAT(where, StartsWith("argument 2.second ("));
    CHECK_THAT(where, ContainsSubstring("fit).betas[]: "));
    CHECK_THAT(where, ContainsSubstring("looks_like_a_vector: ") && ContainsSubstring("travels_as_container"));
    CHECK_THAT(what_does_not_travel<has_money>("it"), ContainsSubstring(".amount: ") && ContainsSubstring("as_bytes"));
    CHECK_THAT(what_does_not_travel<array_ref<int>>("it"), ContainsSubstring("view"));
    CHECK_THAT(what_does_not_travel<std::string_view>("it"), ContainsSubstring("std::string"));
    CHECK_THAT(what_does_not_travel<volatile_and_string>("it"), ContainsSubstring("volatile"));
    CHECK_THAT(what_does_not_travel<inherits_serialize>("it"), ContainsSubstring("base class"));
    CHECK_THAT(what_does_not_travel<saves_only>("it"), ContainsSubstring("saves_only: "));
    CHECK_THAT(what_does_not_travel<of_itself>("it"),
               !ContainsSubstring("container") && ContainsSubstring("serialize"));
    CHECK_THAT((what_does_not_travel<std::vector<int, counting_allocator<int>>>("it")), ContainsSubstring("allocator"));
    CHECK_THAT((what_does_not_travel<std::unique_ptr<std::FILE, closes>>("it")), ContainsSubstring("deleter"));

    int k = 0;
    const auto closure = [&k](int i) { return i + k; };
    const auto with_closure = joblot::delayed(closure)(1);
    CHECK_THROWS_WITH(joblot::detail::refuse_to_send<decltype(with_closure)>(),
                      ContainsSubstring("its function") && ContainsSubstring("captures"));
    const auto with_pointer = joblot::delayed([](int, const int* p) { return *p; })(1, &k);
    CHECK_THROWS_WITH(joblot::detail::refuse_to_send<decltype(with_pointer)>(),
                      ContainsSubstring("argument 2: ") && ContainsSubstring("it is a pointer"));
    const auto with_result = joblot::delayed([](int i) { return handle(new int(i)); })(1);
    CHECK_THROWS_WITH(joblot::detail::refuse_to_send<decltype(with_result)>(), ContainsSubstring("its result: "));
}

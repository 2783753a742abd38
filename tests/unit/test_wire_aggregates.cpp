// SPDX-License-Identifier: BSL-1.0
// Which classes of users travel to another process, and in which way.

#include <cereal/cereal.hpp> // before joblot

#include <joblot/wire/kinds.hpp>

#include <catch2/catch_test_macros.hpp>

#include <any>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace {

using joblot::detail::is_raw;
using joblot::detail::travels;
using joblot::detail::way;
using joblot::detail::way_v;

struct point {
    double x, y;
    double length() const { return x + y; }
};

// --- aggregates without anything that must be looked into

struct c_arrays {
    char name[32];
    double x[3];
    int k;
};
struct nested_arrays {
    c_arrays r;
    point p[2];
};
struct with_bits {
    unsigned a : 3;
    unsigned b : 5;
};
struct base {
    int i;
};
struct more_bits_than_bytes {
    std::uint8_t a : 1, b : 1, c : 1, d : 1, e : 1, f : 1, g : 1, h : 1;
    std::uint8_t i : 1, j : 1, k : 1, l : 1, m : 1, n : 1, o : 1, p : 1;
};
struct pointer_after_bits {
    more_bits_than_bytes bits;
    int* q;
};
struct raw_derived : base {
    int k;
};
struct const_member {
    const int id;
    double x;
};
struct large {
    double m[1000];
};
struct with_category {
    std::string name;
    std::string category() const { return name; }
};
class encapsulated {
public:
    explicit encapsulated(double x) : x_(x) {}
    double operator()(int i) const { return x_ * i; }

private:
    double x_;
};
struct holds_encapsulated {
    encapsulated e;
    int k;
};
using function = int (*)(int);

// --- aggregates with something

struct pointer_last {
    double x;
    const char* name;
};
struct pointer_deep {
    nested_arrays s;
    pointer_last q;
};
struct pointer_array {
    double x;
    int* p[2];
};
struct pointer_after_much {
    double m[1000];
    const char* name;
};
struct view_last {
    double x;
    std::string_view text;
};
struct span_first {
    std::span<const double> values;
    double x;
};
struct reference_member {
    int& r;
};
struct const_reference {
    double x;
    const int& r;
};
struct const_reference_with_string {
    std::string s;
    const int& r;
};
class hidden_reference {
public:
    explicit hidden_reference(const int& r) : r_(r) {}
    int get() const { return r_; }

private:
    const int& r_;
};
struct function_member {
    function f;
    int k;
};
struct method_member {
    double x;
    double (point::*f)() const;
};
struct string_and_array {
    std::string s;
    std::uint8_t a[2];
};
struct strings_in_array {
    std::string a[2];
    int k;
};
struct derived_with_string : base {
    std::string s;
};

// --- aggregates that go field by field

struct fields {
    std::string s;
    std::vector<double> v;
    int n;
};
struct nested_fields {
    fields b;
    std::optional<std::string> o;
    std::map<std::string, std::vector<point>> m;
};
struct list_node {
    int v;
    std::unique_ptr<list_node> next;
};
struct tree {
    int v;
    std::vector<tree> kids;
    std::map<std::string, tree> named;
};
struct odd_tree {
    int* p;
    std::vector<odd_tree> kids;
};
struct right;
struct left {
    std::vector<right> others;
    int k;
};
struct right {
    std::shared_ptr<left> back;
    std::variant<int, std::vector<left>> more;
};
struct with_any {
    std::string s;
    std::any a;
};

// --- types with functions for cereal

struct serialized {
    std::unique_ptr<int> p;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(p);
    }
};
struct saved {
    int* p = nullptr;
    template <class Archive>
    void save(Archive& archive) const {
        archive(*p);
    }
    template <class Archive>
    void load(Archive&) {}
};
struct versioned {
    int* p = nullptr;
    template <class Archive>
    void serialize(Archive&, std::uint32_t) {}
};
struct boost_form {
    int* p = nullptr;
    template <class Archive>
    void serialize(Archive&, unsigned) {}
};
struct outside {
    int* p = nullptr;
};
template <class Archive>
void serialize(Archive&, outside&) {}
class private_serialize {
    friend class cereal::access;
    template <class Archive>
    void serialize(Archive&) {}
    int* p_ = nullptr;
};
struct no_default {
    explicit no_default(int) {}
    std::string text;
    template <class Archive>
    void serialize(Archive&) {}
};

template <class T, way How>
inline constexpr bool goes = way_v<T> == How;

} // namespace
CEREAL_CLASS_VERSION(versioned, 1)

TEST_CASE("plain aggregates go byte by byte", "[wire][kinds]") {
    STATIC_REQUIRE(goes<point, way::raw>);
    STATIC_REQUIRE(goes<c_arrays, way::raw>);
    STATIC_REQUIRE(goes<nested_arrays, way::raw>);
    STATIC_REQUIRE(goes<with_bits, way::raw>);
    STATIC_REQUIRE(goes<more_bits_than_bytes, way::raw>);
    STATIC_REQUIRE(goes<raw_derived, way::raw>);
    STATIC_REQUIRE(goes<const_member, way::raw>);
    STATIC_REQUIRE(goes<large, way::raw>);
    STATIC_REQUIRE(goes<std::array<point, 100000>, way::raw>);
    STATIC_REQUIRE(goes<std::vector<nested_arrays>, way::block>);
}

TEST_CASE("aggregates with functions go field by field", "[wire][kinds]") {
    STATIC_REQUIRE_FALSE(is_raw<function_member>);
    STATIC_REQUIRE_FALSE(is_raw<method_member>);
    STATIC_REQUIRE(goes<function_member, way::fields>);
    STATIC_REQUIRE(goes<method_member, way::fields>);
    STATIC_REQUIRE(goes<std::vector<method_member>, way::sequence>);
}

TEST_CASE("aggregates with pointers or references stay at home", "[wire][kinds]") {
    STATIC_REQUIRE_FALSE(travels<pointer_last>);
    STATIC_REQUIRE_FALSE(travels<pointer_deep>);
    STATIC_REQUIRE_FALSE(travels<pointer_after_bits>);
    STATIC_REQUIRE_FALSE(travels<pointer_array>);
    STATIC_REQUIRE_FALSE(travels<pointer_after_much>);
    STATIC_REQUIRE_FALSE(travels<view_last>);
    STATIC_REQUIRE_FALSE(travels<span_first>);
    STATIC_REQUIRE_FALSE(travels<reference_member>);
    STATIC_REQUIRE_FALSE(travels<const_reference>);
    STATIC_REQUIRE_FALSE(travels<const_reference_with_string>);
    STATIC_REQUIRE_FALSE(travels<hidden_reference>);
    STATIC_REQUIRE_FALSE(travels<std::vector<pointer_last>>);
    STATIC_REQUIRE_FALSE(travels<with_any>);
    // these are no secret, but cannot be taken apart
    STATIC_REQUIRE_FALSE(travels<string_and_array>);
    STATIC_REQUIRE_FALSE(travels<strings_in_array>);
    STATIC_REQUIRE_FALSE(travels<derived_with_string>);
}

TEST_CASE("aggregates go field by field, trees of them too", "[wire][kinds]") {
    STATIC_REQUIRE(goes<fields, way::fields>);
    STATIC_REQUIRE(goes<nested_fields, way::fields>);
    STATIC_REQUIRE(goes<with_category, way::fields>);
    STATIC_REQUIRE(goes<list_node, way::fields>);
    STATIC_REQUIRE(goes<tree, way::fields>);
    STATIC_REQUIRE(goes<std::vector<tree>, way::sequence>);
    STATIC_REQUIRE(goes<left, way::fields>);
    STATIC_REQUIRE(goes<right, way::fields>);
    STATIC_REQUIRE_FALSE(travels<odd_tree>);
}

TEST_CASE("types with functions for cereal, whatever they hold", "[wire][kinds]") {
    STATIC_REQUIRE(goes<serialized, way::user>);
    STATIC_REQUIRE(goes<saved, way::user>);
    STATIC_REQUIRE(goes<versioned, way::user>);
    STATIC_REQUIRE_FALSE(travels<boost_form>);
    STATIC_REQUIRE(goes<outside, way::user>);
    STATIC_REQUIRE(goes<private_serialize, way::user>);
    STATIC_REQUIRE_FALSE(travels<no_default>); // there is nothing to load into
}

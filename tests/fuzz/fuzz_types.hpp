// SPDX-License-Identifier: BSL-1.0
// The types that fuzz_codec reads, one for each thing that the codec can do; and an example of each.
#pragma once

#include <joblot/cereal.hpp>
#include <joblot/persisted.hpp>
#include <joblot/wire/codec.hpp>

#include <array>
#include <chrono>
#include <complex>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>

namespace fuzz {

struct point {
    double x = 0, y = 0;
};
struct alignas(64) wide {
    double x = 0;
};
struct tree {
    std::string name;
    std::vector<tree> kids;
};
struct fields {
    std::string name;
    std::optional<std::string> maybe;
    std::variant<int, std::string, std::vector<double>> choice;
    std::map<std::string, std::vector<point>> more;
    std::array<std::string, 2> names;
};
struct chain {
    int value = 0;
    std::unique_ptr<chain> next;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(CEREAL_NVP(value), next);
    }
};
struct matrix {
    std::vector<float> cells;
    double corners[4] = {};
    template <class Archive>
    void save(Archive& archive) const {
        archive(cereal::make_size_tag(static_cast<cereal::size_type>(cells.size())));
        archive(cereal::binary_data(cells.data(), cells.size() * sizeof(float)), corners);
    }
    template <class Archive>
    void load(Archive& archive) {
        cereal::size_type n = 0;
        archive(cereal::make_size_tag(n));
        cells.resize(n);
        archive(cereal::binary_data(cells.data(), cells.size() * sizeof(float)), corners);
    }
};
struct method {
    int x = 0;
    int get() const { return x; }
};
inline int function(int i) { return i; }

using shared = std::vector<
    std::variant<std::shared_ptr<std::string>, std::shared_ptr<std::uint64_t>, std::shared_ptr<std::vector<double>>>>;

// New ones at the end: the corpus knows them by their numbers.
using types =
    std::tuple<std::string, std::vector<double>, std::vector<std::string>, std::vector<bool>,
               std::map<std::string, std::vector<int>>, std::unordered_map<int, std::string>, std::list<point>,
               std::forward_list<std::string>, std::deque<std::uint8_t>, std::set<std::pair<int, std::string>>,
               std::tuple<int, std::string, char>, std::optional<std::vector<std::string>>,
               std::variant<int, double, float>, std::variant<std::string, std::vector<std::string>, std::monostate>,
               std::unique_ptr<std::string>, shared, std::filesystem::path, std::valarray<float>,
               std::queue<std::string>, std::priority_queue<int>, std::vector<wide>, fields, tree, chain, matrix,
               std::vector<matrix>, int (*)(int), int (method::*)() const, std::optional<int (*)(int)>,
               std::array<std::string, 3>, std::complex<double>, std::chrono::nanoseconds,
               joblot::broadcasted<std::vector<double>>, std::vector<std::monostate>, std::wstring,
               joblot::persisted<std::vector<double>>, joblot::persisted<std::int16_t>, joblot::persisted<bool>,
               joblot::persisted<std::complex<float>>, joblot::persisted<std::string>,
               joblot::persisted<std::vector<std::array<float, 2>>>, joblot::persisted<std::array<std::byte, 3>>,
               joblot::persisted<fields>>;

/// A value of a type with something in it.
template <class T>
struct example {
    static T make() { return T(); }
};
template <>
struct example<std::string> {
    static std::string make() { return std::string(5'000, 'x'); }
};
template <class E>
struct example<std::vector<E>> {
    static std::vector<E> make() {
        std::vector<E> v(2);
        v.push_back(example<E>::make());
        return v;
    }
};
template <>
struct example<shared> {
    static shared make() {
        const auto text = std::make_shared<std::string>("text");
        return {text, std::make_shared<std::uint64_t>(1), text, std::make_shared<std::vector<double>>(600)};
    }
};
template <>
struct example<fields> {
    static fields make() { return {"name", "maybe", "choice", {{"a", {point(), point()}}}, {"x", "y"}}; }
};
template <>
struct example<tree> {
    static tree make() { return {"root", {{"a", {}}, {"b", {{"c", {}}}}}}; }
};
template <>
struct example<chain> {
    static chain make() {
        chain first;
        first.next = std::make_unique<chain>();
        return first;
    }
};
template <>
struct example<matrix> {
    static matrix make() { return {std::vector<float>(1'500, 1.0F), {1, 2, 3, 4}}; }
};
template <>
struct example<int (*)(int)> {
    static auto make() { return &function; }
};
template <>
struct example<int (method::*)() const> {
    static auto make() { return &method::get; }
};
template <>
struct example<std::map<std::string, std::vector<int>>> {
    static std::map<std::string, std::vector<int>> make() { return {{"a", {1, 2, 3}}, {"b", {}}}; }
};
template <class T>
struct example<joblot::persisted<T>> {
    static auto make() { return joblot::persisted<T>(example<T>::make()); }
};
template <>
struct example<joblot::broadcasted<std::vector<double>>> {
    static auto make() { return joblot::broadcast(std::vector<double>(3)); }
};

} // namespace fuzz

// SPDX-License-Identifier: BSL-1.0
// Classes with functions for cereal through joblot's codec.

#include "support/wire.hpp"

#include <cereal/cereal.hpp> // after joblot

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using support::outgoing;
using support::round_trip;
using support::written;

template <class T>
bool survives(const T& value) {
    return round_trip(value) == value;
}

struct with_serialize {
    int a = 0;
    std::vector<std::string> b;
    std::map<int, double> c;
    double d[3] = {};
    template <class Archive>
    void serialize(Archive& archive) {
        archive(CEREAL_NVP(a), b);
        archive& cereal::make_nvp("c", c);
        archive(d);
    }
    bool operator==(const with_serialize&) const = default;
};

class with_save_and_load {
public:
    with_save_and_load() = default;
    explicit with_save_and_load(std::vector<double> v) : v_(std::make_unique<std::vector<double>>(std::move(v))) {}
    template <class Archive>
    void save(Archive& archive) const {
        archive << cereal::make_size_tag(static_cast<cereal::size_type>(v_->size()));
        for (const double x : *v_) archive << x;
    }
    template <class Archive>
    void load(Archive& archive) {
        cereal::size_type n = 0;
        archive >> cereal::make_size_tag(n);
        v_ = std::make_unique<std::vector<double>>(n);
        for (double& x : *v_) archive >> x;
    }
    bool operator==(const with_save_and_load& other) const { return *v_ == *other.v_; }

private:
    std::unique_ptr<std::vector<double>> v_ = std::make_unique<std::vector<double>>();
};

// As cereal itself writes a vector of numbers.
struct matrix {
    std::vector<double> cells;
    template <class Archive>
    void save(Archive& archive) const {
        archive(cereal::make_size_tag(static_cast<cereal::size_type>(cells.size())));
        archive(cereal::binary_data(cells.data(), cells.size() * sizeof(double)));
    }
    template <class Archive>
    void load(Archive& archive) {
        cereal::size_type n = 0;
        archive(cereal::make_size_tag(n));
        cells.resize(n);
        archive(cereal::binary_data(cells.data(), cells.size() * sizeof(double)));
    }
    bool operator==(const matrix&) const = default;
};

struct beside {
    int* p = nullptr;
    int value = 0;
    bool operator==(const beside& other) const { return value == other.value; }
};
template <class Archive>
void serialize(Archive& archive, beside& b) {
    archive(b.value);
}

struct beside_in_two {
    int* p = nullptr;
    int value = 0;
    bool operator==(const beside_in_two& other) const { return value == other.value; }
};
template <class Archive>
void save(Archive& archive, const beside_in_two& b) {
    archive(b.value);
}
template <class Archive>
void load(Archive& archive, beside_in_two& b) {
    archive(b.value);
}

class with_private_serialize {
public:
    with_private_serialize() = default;
    explicit with_private_serialize(std::string s) : s_(std::move(s)) {}
    bool operator==(const with_private_serialize&) const = default;

private:
    friend class cereal::access;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(s_);
    }
    std::string s_;
};

struct animal {
    std::string name;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(name);
    }
    bool operator==(const animal&) const = default;
};
struct dog : animal {
    int age = 0;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(cereal::base_class<animal>(this), age);
    }
    bool operator==(const dog&) const = default;
};
struct cat : virtual animal {
    int lives = 9;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(cereal::virtual_base_class<animal>(this), cereal::defer(lives));
    }
};

struct with_version {
    int value = 0;
    template <class Archive>
    void serialize(Archive& archive, std::uint32_t version) {
        archive(value);
        seen = version;
    }
    static inline std::uint32_t seen = 0;
    bool operator==(const with_version&) const = default;
};
struct minimal {
    std::string text;
    template <class Archive>
    std::string save_minimal(const Archive&) const {
        return text;
    }
    template <class Archive>
    void load_minimal(const Archive&, const std::string& t) {
        text = t;
    }
    bool operator==(const minimal&) const = default;
};

struct writes_nothing {
    int cache = 0;
    template <class Archive>
    void serialize(Archive&) {}
};
struct linked {
    int value = 0;
    std::unique_ptr<linked> next;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(value, next);
    }
};

struct gives_temporaries {
    std::size_t n = 0;
    template <class Archive>
    void save(Archive& archive) const {
        archive(std::string(n, 'a'), std::vector<double>(n, 1.0));
    }
    template <class Archive>
    void load(Archive& archive) {
        std::string text;
        std::vector<double> numbers;
        archive(text, numbers);
        n = text == std::string(text.size(), 'a') && numbers == std::vector<double>(text.size(), 1.0) ? text.size() : 0;
    }
};
struct throws {
    int cache = 0;
    template <class Archive>
    void serialize(Archive&) {
        throw std::runtime_error("will not");
    }
};

// A container that makes its elements as they are asked for.
class made_up {
public:
    using value_type = std::string;
    struct iterator {
        using value_type = std::string;
        using difference_type = std::ptrdiff_t;
        std::string operator*() const { return std::string(10'000, static_cast<char>('a' + n)); }
        iterator& operator++() { return ++n, *this; }
        iterator operator++(int) { return {n++}; }
        bool operator==(const iterator&) const = default;
        int n = 0;
    };
    made_up() = default;
    template <class I>
    made_up(I first, I last) : size_(static_cast<int>(last - first)) {
        for (int i = 0; first != last; ++first, ++i) right_ = right_ && *first == *iterator{i};
    }
    [[nodiscard]] iterator begin() const { return {0}; }
    [[nodiscard]] iterator end() const { return {size_}; }
    [[nodiscard]] bool right() const { return right_; }

private:
    int size_ = 3;
    bool right_ = true;
    std::unique_ptr<int> not_plain_;
};

} // namespace
CEREAL_CLASS_VERSION(with_version, 7)
template <>
struct joblot::travel<made_up> : joblot::travels_as_container {};

TEST_CASE("serialize in all its forms", "[wire][codec][cereal]") {
    CHECK(survives(with_serialize{1, {"x", "y"}, {{1, 2.0}}, {1, 2, 3}}));
    CHECK(survives(with_save_and_load({1, 2, 3})));
    CHECK(survives(with_save_and_load(std::vector<double>(10'000, 1.0))));
    CHECK(survives(beside{nullptr, 4}));
    CHECK(survives(beside_in_two{nullptr, 4}));
    CHECK(survives(with_private_serialize("secret")));
    CHECK(survives(minimal{"small"}));
    CHECK(survives(std::vector<with_serialize>(3)));
    CHECK(survives(std::map<std::string, with_private_serialize>{{"a", with_private_serialize("b")}}));
}

TEST_CASE("binary data, small and large", "[wire][codec][cereal]") {
    CHECK(survives(matrix{}));
    CHECK(survives(std::tuple('x', matrix{}, matrix{}, std::string("after"))));
    CHECK(survives(matrix{std::vector<double>(10, 1.0)}));
    CHECK(survives(matrix{std::vector<double>(100'000, 1.0)}));
}

TEST_CASE("base classes", "[wire][codec][cereal]") {
    dog d;
    d.name = "Rex";
    d.age = 4;
    CHECK(survives(d));
    cat c;
    c.name = "Tom";
    c.lives = 8;
    const cat got = round_trip(c);
    CHECK((got.name == "Tom" && got.lives == 8));
}

TEST_CASE("versions of classes", "[wire][codec][cereal]") {
    CHECK(survives(std::vector<with_version>{{1}, {2}}));
    CHECK(with_version::seen == 7);
}

TEST_CASE("classes that write nothing can be counted", "[wire][codec][cereal]") {
    CHECK(round_trip(std::vector<writes_nothing>(1'000)).size() == 1'000);
    CHECK(round_trip(std::pair(std::vector<writes_nothing>(5), 1)).first.size() == 5);
}

TEST_CASE("classes that hold themselves", "[wire][codec][cereal]") {
    linked first;
    first.value = 1;
    first.next = std::make_unique<linked>();
    first.next->value = 2;
    const linked got = round_trip(first);
    CHECK((got.value == 1 && got.next->value == 2 && !got.next->next));
}

TEST_CASE("what a class's own functions hand on is copied: it may be a temporary", "[wire][codec][cereal]") {
    for (const std::size_t n : {std::size_t{1}, std::size_t{4'095}, std::size_t{50'000}}) {
        CHECK(round_trip(gives_temporaries{n}).n == n);
    }
    const outgoing message = written(gives_temporaries{50'000});
    REQUIRE(message.blocks.size() == 2);
    CHECK(message.owned.size() == 2);
    CHECK(message.blocks[0].data() == message.owned[0].data());
}

TEST_CASE("elements that a container makes up are copied", "[wire][codec]") {
    const made_up sent;
    const outgoing message = written(sent);
    CHECK(message.owned.size() == 3);
    CHECK(support::read<made_up>(message.stream, message.blocks).right());
}

TEST_CASE("after a class's functions have thrown, what follows is not copied needlessly", "[wire][codec][cereal]") {
    outgoing message;
    support::encoder to(message);
    CHECK_THROWS_AS(joblot::detail::encode(to, throws{}), std::runtime_error);
    CHECK(to.depth() == 0);
    const std::string large(10'000, 'x');
    joblot::detail::encode(to, large);
    CHECK(message.owned.empty());
}

TEST_CASE("each part of a message is read on its own", "[wire][codec]") {
    const auto p = std::make_shared<std::string>("shared");
    using value = std::tuple<std::shared_ptr<std::string>, with_version, std::shared_ptr<std::string>>;
    outgoing message;
    for (int i = 0; i != 3; ++i) {
        const std::size_t part = message.begin_part();
        support::encoder to(message); // one for each part, as those who write batches have it
        joblot::detail::encode(to, value(p, {i}, p));
        message.end_part(part, 0, 0);
    }
    joblot::detail::incoming all(message.stream, message.blocks);
    for (int i = 0; i != 3; ++i) {
        std::uint32_t mark = 0;
        support::decoder from(all.part(mark));
        const auto [first, number, second] = joblot::detail::decode<value>(from);
        CHECK(*first == "shared");
        CHECK(number.value == i);
        CHECK(first == second);
    }
}

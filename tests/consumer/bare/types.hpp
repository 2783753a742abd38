// SPDX-License-Identifier: BSL-1.0
// Classes in every way that needs no other library.
#pragma once

#include <joblot/travel.hpp>

#include <map>
#include <memory>
#include <string>
#include <vector>

struct title {
    std::string text;
};
struct shelf { // an aggregate
    std::map<std::string, int> books;
    title label;
};

class price { // cereal's way, in one function
public:
    price() = default;
    explicit price(int cents) : cents_(std::make_shared<int>(cents)) {}
    int cents() const { return *cents_; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(cents_);
    }

private:
    std::shared_ptr<int> cents_;
};

class box { // its author says how it travels
public:
    box(int width, int height) : sides_{width, height} {}
    int volume() const { return sides_[0] * sides_[1]; }

private:
    friend struct joblot::travel<box>;
    std::vector<int> sides_;
};
template <>
struct joblot::travel<box> {
    static void save(auto& to, const box& b) { to(b.sides_); }
    static box load(auto& from) {
        const auto sides = from.template read<std::vector<int>>();
        return {sides.at(0), sides.at(1)};
    }
};

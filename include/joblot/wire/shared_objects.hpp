// SPDX-License-Identifier: BSL-1.0
// Which shared objects a message has already: a hash table by address. Not the standard's, whose header every user
// would pay for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace joblot::detail {

class shared_objects {
public:
    /// The number of an object, 1, 2, and so on, and whether it is new. Number 0: another object is at its address, the
    /// first member of this one or the other way round; it is not known again later.
    /// @param type Stands for the object's type.
    std::pair<std::uint32_t, bool> number_of(const std::shared_ptr<const void>& object, const void* type) {
        if (objects_.size() * 2 >= places_.size()) grow();
        std::uint32_t& place = place_of(object.get());
        if (place == 0) {
            objects_.push_back({object, type});
            place = static_cast<std::uint32_t>(objects_.size());
            return {place, true};
        }
        if (objects_[place - 1].type == type) return {place, false};
        return {0, true};
    }

private:
    struct known {
        std::shared_ptr<const void> object; // kept, so that no other one comes to its address
        const void* type;
    };

    /// Where the number of what is at an address stands, or is to stand: 0 there. Steps on from its hash.
    std::uint32_t& place_of(const void* address) {
        const std::uint64_t spread = reinterpret_cast<std::uintptr_t>(address) * 0x9E3779B97F4A7C15U;
        const std::size_t last = places_.size() - 1;
        std::size_t at = spread >> 32U & last;
        while (places_[at] != 0 && objects_[places_[at] - 1].object.get() != address) at = (at + 1) & last;
        return places_[at];
    }
    void grow() {
        places_.assign(places_.empty() ? 16 : places_.size() * 2, 0);
        for (std::size_t i = 0; i != objects_.size(); ++i)
            place_of(objects_[i].object.get()) = static_cast<std::uint32_t>(i + 1);
    }

    std::vector<known> objects_;        // by number, less one
    std::vector<std::uint32_t> places_; // a power of two of them, at least half of them free; 0: free
};

} // namespace joblot::detail

// SPDX-License-Identifier: BSL-1.0
// Broadcast values between processes: how one is written once, and what it is where it has arrived.
#pragma once

#include <joblot/broadcast.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/archive.hpp>
#include <joblot/wire/segment.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <unistd.h>

namespace joblot::detail {

/// A number for a broadcast value that no other one has, in this process or in its workers.
JOBLOT_ONE_PER_PROCESS inline std::uint64_t fresh_image_id() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return static_cast<std::uint64_t>(::getpid()) << 32 | (last.fetch_add(1, std::memory_order_relaxed) + 1);
}

/// What is called with the number of a broadcast value that nobody has a handle of any more. All is thread-safe.
class image_forgetters {
public:
    using function = void (*)(std::uint64_t id);

    /// For an engine that gives values to other processes. To add a function again changes nothing.
    static void add(function forget) noexcept {
        for (std::atomic<function>& place : all()) {
            function there = nullptr;
            // release: whoever calls it sees what it refers to
            if (place.compare_exchange_strong(there, forget, std::memory_order_release, std::memory_order_relaxed) ||
                there == forget)
                return;
        }
    }
    static void call(std::uint64_t id) noexcept {
        for (const std::atomic<function>& place : all()) {
            const function forget = place.load(std::memory_order_acquire);
            if (!forget) return;
            forget(id);
        }
    }

private:
    using places = std::array<std::atomic<function>, 8>; // there are two engines; a library may have its own copy

    JOBLOT_ONE_PER_PROCESS static places& all() noexcept {
        static constinit places functions{};
        return functions;
    }
};

/// Writes a value into shared memory. @param write Writes it into the encoder that it is given.
template <class Write>
std::shared_ptr<segment> make_image(Write write) {
    outgoing message;
    encoder to(message);
    write(to);
    if (!message.images.empty())
        throw serialization_error(
            "joblot: a broadcast value that holds handles of other broadcast values cannot be sent", "broadcasted");
    auto image = std::make_shared<segment>(fresh_image_id(), message);
    image->on_destruction(&image_forgetters::call);
    return image;
}

/// In a process that was sent the value. The bodies are in codec.hpp.
template <class T>
class mapped_broadcast final : public broadcast_source<T> {
public:
    explicit mapped_broadcast(std::shared_ptr<segment> image) : image_(std::move(image)) {}
    const T& get() override;
    typename broadcast_source<T>::view_type view() override;

private:
    std::shared_ptr<segment> image_;
    std::once_flag decoded_;
    std::optional<const T> value_; // made by the first get()
};

} // namespace joblot::detail

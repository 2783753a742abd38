// SPDX-License-Identifier: BSL-1.0
// A batch as the argument of a Dask task, and its results as the task's. What python/worker_shim/joblot_shim.py reads
// and writes.
#pragma once

#include <joblot/dask/protocol/message.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/frame.hpp>
#include <joblot/wire/segment.hpp>
#include <joblot/wire/worker_greeting.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

// Payloads and answers are: "JOBLOT02"; the size of a JSON text (u32); the text; zeros up to a multiple of 8; frames
// (wire/frame.hpp). Of a payload these are a `setup` frame, which starts a child or finds one that was started with the
// same, and a `run` frame. Of an answer they are the child's `results` frames, or the `hello` frame of one that failed
// to come up.
inline constexpr std::string_view payload_magic = "JOBLOT02";

/// What the shim is told of a batch, beside its frames.
struct batch_order {
    std::string program, digest;                    ///< of `program`
    std::chrono::nanoseconds timeout{};             ///< for each task; 0: none
    std::vector<std::uint64_t> images;              ///< broadcast values, as the task's further arguments
    std::vector<std::uint64_t> foreign;             ///< those of them that are data of Python's
    std::map<std::string, int> places;              ///< address of a worker: id of its first thread
    std::map<std::string, std::string> environment; ///< for the child, beside the worker's own
    bool watched = false;                           ///< somebody wants to know how far it is
};

/// The bytes of a batch, in pieces that refer to the message that it was made of.
class batch_payload {
public:
    /// @param run A message that begins with a `run_request`. The memory that its blocks refer to must last, too.
    batch_payload(const batch_order& order, const detail::worker_setup& setup, detail::outgoing run)
        : setup_(setup_message(setup)), run_(std::move(run)), places_(in_frame(run_)),
          setup_frame_(detail::frame_kind::setup, setup_, {}, 0), run_frame_(detail::frame_kind::run, run_, places_, 0),
          head_(head_for(order)) {
        pieces_.push_back(head_);
        pieces_.insert(pieces_.end(), setup_frame_.pieces().begin(), setup_frame_.pieces().end());
        pieces_.insert(pieces_.end(), run_frame_.pieces().begin(), run_frame_.pieces().end());
    }
    batch_payload(const batch_payload&) = delete;
    batch_payload& operator=(const batch_payload&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return size_of(pieces_); }
    /// They last as long as this does.
    [[nodiscard]] std::span<const bytes_view> pieces() const noexcept { return pieces_; }
    /// All of it in one: for small ones.
    [[nodiscard]] std::vector<std::byte> joined() const {
        std::vector<std::byte> all;
        all.reserve(size());
        for (const bytes_view p : pieces_) all.insert(all.end(), p.begin(), p.end());
        return all;
    }
    /// For sending it without a copy.
    [[nodiscard]] static std::vector<payload> shared(const std::shared_ptr<const batch_payload>& batch) {
        std::vector<payload> all;
        for (const bytes_view p : batch->pieces()) all.emplace_back(p, batch);
        return all;
    }

private:
    static std::size_t size_of(std::span<const bytes_view> pieces) noexcept {
        std::size_t sum = 0;
        for (const bytes_view p : pieces) sum += p.size();
        return sum;
    }
    static detail::outgoing setup_message(const detail::worker_setup& setup) {
        detail::outgoing message;
        message.put(setup);
        return message;
    }
    static std::vector<detail::block_place> in_frame(const detail::outgoing& message) {
        std::vector<detail::block_place> places;
        places.reserve(message.blocks.size());
        for (const bytes_view b : message.blocks) places.push_back({b.size(), detail::block_place::in_frame});
        return places;
    }
    [[nodiscard]] std::vector<std::byte> head_for(const batch_order& order) const {
        const std::size_t table = detail::round_up(places_.size() * sizeof places_[0], detail::block_alignment);
        const std::string text =
            json{{"program", order.program},
                 {"digest", order.digest},
                 {"setup_size", size_of(setup_frame_.pieces())},
                 {"run_size", size_of(run_frame_.pieces())},
                 {"timeout_ns", order.timeout.count()},
                 {"images", order.images},
                 {"foreign", order.foreign},
                 {"places", order.places},
                 {"environment", order.environment},
                 {"watched", order.watched},
                 {"worker_id_at", sizeof(detail::frame_head) + table + offsetof(detail::run_request, worker_id)}}
                .dump(-1, ' ', false, json::error_handler_t::replace);
        const auto size = static_cast<std::uint32_t>(text.size());
        std::vector<std::byte> head(detail::round_up(payload_magic.size() + sizeof size + text.size(), 8));
        std::memcpy(head.data(), payload_magic.data(), payload_magic.size());
        std::memcpy(head.data() + payload_magic.size(), &size, sizeof size);
        std::memcpy(head.data() + payload_magic.size() + sizeof size, text.data(), text.size());
        return head;
    }

    const detail::outgoing setup_, run_;
    const std::vector<detail::block_place> places_;
    const detail::frame_pieces setup_frame_, run_frame_; // refer to what is above
    const std::vector<std::byte> head_;
    std::vector<bytes_view> pieces_;
};

/// A broadcast value as workers get it: the content of its shared memory, which is mapped for that.
/// @throws backend_error where that fails.
[[nodiscard]] inline payload image_payload(const detail::segment& image) {
    auto map = std::make_shared<const detail::mapping>(image.file(), detail::file_size(image.file()), false);
    if (!*map) throw backend_error("joblot: a broadcast value cannot be mapped");
    const bytes_view content(map->data(), map->size());
    return {content, std::move(map)};
}

/// How a batch ended on its worker.
enum class batch_end {
    done,      ///< each of its tasks has a result, or an exception
    died,      ///< the program ended under a task, or between two
    timed_out, ///< a task ran for too long
    cancelled, ///< nobody wanted it any more
    refused,   ///< the worker cannot run the program
    missing    ///< the worker does not have the program any more, or not as it was brought there
};

/// What a worker says of a batch. The texts are another machine's: not checked for anything.
struct batch_report {
    batch_end end = batch_end::refused;
    std::optional<int> signal, exit_status;
    std::optional<std::uint64_t> current; ///< index in the call of the task that ran at the end
    std::string stderr_tail;              ///< the last that the program wrote to stderr
    std::string worker;                   ///< its address
    std::optional<std::int64_t> pid;      ///< of the program
    std::string why;                      ///< it was refused, or the program is missing
    std::string key;                      ///< of the Dask task that it is about
};

/// The answer to a batch. Reads bytes of another machine: every one is checked before it is used.
class batch_answer {
public:
    /// @param bytes Must last as long as this does. @throws serialization_error where they are no answer.
    explicit batch_answer(bytes_view bytes) {
        std::uint32_t size = 0;
        const std::size_t before = payload_magic.size() + sizeof size;
        if (bytes.size() < before || std::memcmp(bytes.data(), payload_magic.data(), payload_magic.size()) != 0)
            broken("it does not begin as one");
        std::memcpy(&size, bytes.data() + payload_magic.size(), sizeof size);
        const std::size_t begin = detail::round_up(before + size, 8);
        if (size > most_text || begin > bytes.size()) broken("its text is too long");
        const auto* const text = reinterpret_cast<const char*>(bytes.data() + before);
        read_report(json::parse(text, text + size, nullptr, false));
        frames_ = bytes.subspan(begin);
    }

    [[nodiscard]] const batch_report& report() const noexcept { return report_; }

    /// Calls `take(kind, message)` for each frame, in order; the message is gone afterwards.
    /// @throws serialization_error where what follows is no frame, and what `take` throws.
    template <class Take>
    void for_each_frame(Take take) const {
        detail::frame_reader frame;
        for (bytes_view left = frames_; !left.empty();) {
            left = left.subspan(frame.feed(left));
            if (!frame.complete()) broken("its last frame is cut off");
            if (frame.kind() != detail::frame_kind::results && frame.kind() != detail::frame_kind::hello)
                broken("it has a frame of an unexpected kind");
            if (frame.image_count() != 0) broken("it speaks of files");
            const std::vector<bytes_view> blocks = frame.blocks({});
            take(frame.kind(), detail::incoming(frame.stream(), blocks));
            frame.restart();
        }
    }

private:
    static constexpr std::size_t most_text = 1U << 20;

    [[noreturn, gnu::cold]] static void broken(const char* why) {
        throw serialization_error("joblot: a worker's answer to a batch makes no sense: " + std::string(why),
                                  "an answer");
    }

    void read_report(const json& from) {
        if (!from.is_object()) broken("its text is no JSON object");
        static constexpr std::array<std::string_view, 6> ends{"done",      "died",    "timed_out",
                                                              "cancelled", "refused", "missing"};
        const std::string end = text_in(from, "end");
        const auto found = std::find(ends.begin(), ends.end(), end);
        if (found == ends.end()) broken("it does not say how the batch ended");
        report_.end = static_cast<batch_end>(found - ends.begin());
        report_.signal = number_in<int>(from, "signal");
        report_.exit_status = number_in<int>(from, "exit_status");
        report_.current = number_in<std::uint64_t>(from, "current");
        report_.pid = number_in<std::int64_t>(from, "pid");
        report_.stderr_tail = text_in(from, "stderr");
        report_.worker = text_in(from, "worker");
        report_.why = text_in(from, "why");
        report_.key = text_in(from, "key");
    }
    static std::string text_in(const json& from, const char* name) {
        const auto found = from.find(name);
        return found != from.end() && found->is_string() ? found->get<std::string>() : std::string();
    }
    template <class T>
    static std::optional<T> number_in(const json& from, const char* name) {
        const auto found = from.find(name);
        if (found == from.end() || !found->is_number_integer()) return std::nullopt;
        return found->get<T>();
    }

    batch_report report_;
    bytes_view frames_;
};

} // namespace joblot::dask::engine

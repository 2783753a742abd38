// SPDX-License-Identifier: BSL-1.0
// Messages of Dask as bytes of a stream: what is written, and a reader that takes the stream in pieces of any size. No
// input or output happens here.
#pragma once

// To write: make a `message_writer`; let the functions of requests.hpp, or its own members, make JSON with it; then
//     encoded_message m = writer.finish(json);         // one request
//     encoded_message m = writer.finish(json::array({a, b}));   // several messages of a client's stream at once
// and write `m.pieces()` one after the other. Payloads are not copied: they live until `m` goes.
//
// To read: `message_reader r;` then `r.feed(bytes)` with what came until `r.complete()`, and `message m = r.take()`,
// after which it begins with the next one. `m.head` is the JSON; a place in it that is `is_reference` names an object
// that came beside it: `m.value(place)`.
//
// A message is: its size (u64, little-endian; of more or fewer than all frames, so it says nothing); the number of
// frames; their sizes; the frames. Frame 0 is the head, MessagePack. `{"__Serialized__": k}` in it stands for an
// object: frame k is its header, with `num-sub-frames`, the frames after it are what the header tells how to read.
// `{"__Pickled__": k}` is the same for an object that the receiver unpickles at once.

#include <joblot/dask/protocol/msgpack.hpp>
#include <joblot/dask/protocol/pickle_writer.hpp>
#include <joblot/wire/feed.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

static_assert(std::endian::native == std::endian::little, "joblot::dask: Dask's numbers are little-endian");

/// Bytes that are sent without being copied, and who owns them.
struct payload {
    bytes_view bytes{};
    std::shared_ptr<const void> owner{}; // empty: the caller keeps them until the message has been sent

    payload() = default;
    payload(bytes_view b, std::shared_ptr<const void> o) noexcept : bytes(b), owner(std::move(o)) {}
    /// Takes the bytes over.
    explicit payload(std::vector<std::byte> b) {
        auto all = std::make_shared<const std::vector<std::byte>>(std::move(b));
        bytes = *all;
        owner = std::move(all);
    }
};

/// A message as it is to be written.
class encoded_message {
public:
    encoded_message() = default;
    encoded_message(encoded_message&&) noexcept = default;
    encoded_message& operator=(encoded_message&&) noexcept = default;
    ~encoded_message() = default;

    /// In this order.
    [[nodiscard]] std::span<const bytes_view> pieces() const noexcept { return pieces_; }
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t sum = 0;
        for (const bytes_view p : pieces_) sum += p.size();
        return sum;
    }

private:
    friend class message_writer;
    std::vector<bytes_view> pieces_;
    std::deque<payload> payloads_; // what the pieces refer to
};

/// Puts a message together.
class message_writer {
public:
    /// An object of Python's `bytes`, in one piece or several that make one. @return What stands for it in the JSON.
    [[nodiscard]] json bytes(std::vector<payload> pieces) {
        json header = header_of("builtins", "bytes", pieces.size());
        header["split-num-sub-frames"] = json::array({pieces.size()});
        header["split-offsets"] = {0};
        return {{"__Serialized__", add(header, std::move(pieces))}};
    }
    /// An object of a class that says itself how it is made of its pieces (`dask_deserialize`).
    [[nodiscard]] json made_of(std::string_view module, std::string_view name, std::vector<payload> pieces) {
        const json header = header_of(module, name, pieces.size());
        return {{"__Serialized__", add(header, std::move(pieces))}};
    }
    [[nodiscard]] json bytes(payload all) {
        std::vector<payload> one;
        one.push_back(std::move(all));
        return bytes(std::move(one));
    }
    /// An object as a pickle, which is read where the object is needed.
    [[nodiscard]] json object(payload pickle) {
        const json header{{"serializer", "pickle"},
                          {"writeable", json::array()},
                          {"compression", json::array({nullptr})},
                          {"num-sub-frames", 1}};
        std::vector<payload> one;
        one.push_back(std::move(pickle));
        return {{"__Serialized__", add(header, std::move(one))}};
    }
    /// An object as a pickle, which is read as soon as the message is.
    [[nodiscard]] json pickled(std::vector<std::byte> pickle) {
        const json header{{"pickled-obj", binary(pickle)}, {"num-sub-frames", 0}, {"compression", json::array()}};
        return {{"__Pickled__", add(header, {})}};
    }
    /// A set of Python's.
    [[nodiscard]] static json set(json elements) { return {{"__Set__", true}, {"as-list", std::move(elements)}}; }
    /// Bytes inside of the JSON.
    [[nodiscard]] static json binary(bytes_view b) {
        const auto* const first = reinterpret_cast<const std::uint8_t*>(b.data());
        return json::binary({first, first + b.size()});
    }

    /// The message with this head and everything that was added. The writer begins anew.
    [[nodiscard]] encoded_message finish(const json& head) {
        frames_.push_front(payload(packed(head)));
        std::vector<std::uint64_t> prelude{0, frames_.size()};
        for (const payload& f : frames_) prelude.push_back(f.bytes.size());
        for (std::size_t i = 1; i != prelude.size(); ++i) prelude[0] += i == 1 ? 8 : 8 + prelude[i];
        const bytes_view start = std::as_bytes(std::span(prelude));

        encoded_message result;
        result.payloads_ = std::exchange(frames_, {});
        result.payloads_.push_front(payload(std::vector(start.begin(), start.end())));
        for (const payload& p : result.payloads_) {
            if (!p.bytes.empty()) result.pieces_.push_back(p.bytes);
        }
        return result;
    }

private:
    static json header_of(std::string_view module, std::string_view name, std::size_t frames) {
        pickle_writer type;
        type.global(module, name);
        return {{"serializer", "dask"},
                {"type", name},
                {"type-serialized", binary(type.finish())},
                {"sub-header", json::object()},
                {"compression", json::array_t(frames)},
                {"num-sub-frames", frames}};
    }
    static std::vector<std::byte> packed(const json& value) {
        std::vector<std::uint8_t> text = json::to_msgpack(value);
        const bytes_view view = std::as_bytes(std::span(text));
        return {view.begin(), view.end()};
    }
    std::size_t add(const json& header, std::vector<payload> pieces) {
        frames_.emplace_back(packed(header));
        const std::size_t number = frames_.size(); // frame 0 is the head
        for (payload& p : pieces) frames_.push_back(std::move(p));
        return number;
    }

    std::deque<payload> frames_; // all but frame 0
};

/// The text of that name in an object; "" where there is none, whatever else is there: `json::value` throws then.
[[nodiscard]] inline std::string text_at(const json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// An object that came beside the head of a message.
struct received_object {
    json header;                                ///< of `__Serialized__`; empty for `__Pickled__`
    std::vector<std::vector<std::byte>> frames; ///< as they came; for a pickle the first is the pickle itself

    /// Which class of Python's it is: only where Dask serialised it itself ("bytes"), else "".
    [[nodiscard]] std::string type() const { return text_at(header, "type"); }
    [[nodiscard]] bool is_pickle() const { return header.empty() || text_at(header, "serializer") == "pickle"; }
    /// All frames as one: the value of a `bytes` that Dask serialised. Not copied where there is one frame alone.
    [[nodiscard]] std::vector<std::byte> joined() && {
        if (frames.size() == 1) return std::move(frames.front());
        std::size_t size = 0;
        for (const auto& f : frames) size += f.size();
        std::vector<std::byte> all;
        all.reserve(size);
        for (const auto& f : frames) all.insert(all.end(), f.begin(), f.end());
        return all;
    }
};

/// Whether a place in a message's head stands for an object that came beside it.
[[nodiscard]] inline bool is_reference(const json& place) {
    return place.is_object() && place.size() == 1 &&
           (place.begin().key() == "__Serialized__" || place.begin().key() == "__Pickled__");
}

/// A message that was read.
struct message {
    json head;
    std::vector<std::vector<std::byte>> frames; // all; frame 0 is empty, as it is the head

    /// Takes an object out: its frames are moved.
    /// @throws serialization_error where there is none, or it is compressed (the handshake said not to).
    [[nodiscard]] received_object value(const json& place) {
        if (!is_reference(place)) broken_message("an object is missing");
        const std::size_t at = count(place.begin().value());
        if (at == 0 || at >= frames.size()) broken_message("an object is elsewhere");
        received_object result{msgpack_reader::read(frames[at]), {}};
        if (!result.header.is_object()) broken_message("the header of an object is none");
        const std::size_t n = count(result.header.value("num-sub-frames", json()));
        if (n > frames.size() - at - 1) broken_message("an object has more frames than the message");
        if (is_compressed(result.header)) {
            broken_message("an object is compressed; set distributed.comm.compression to null in the configuration of "
                           "the scheduler and the workers");
        }
        const auto first = frames.begin() + static_cast<std::ptrdiff_t>(at) + 1;
        if (place.begin().key() == "__Pickled__") result.frames.push_back(inner_pickle(result.header));
        std::move(first, first + static_cast<std::ptrdiff_t>(n), std::back_inserter(result.frames));
        return result;
    }

private:
    static std::size_t count(const json& number) {
        if (!number.is_number_integer() || number < 0) broken_message("a count is none");
        return number.get<std::size_t>();
    }
    static std::vector<std::byte> inner_pickle(json& header) {
        const json found = std::exchange(header, json::object()).value("pickled-obj", json());
        if (!found.is_binary()) broken_message("a pickle is missing");
        const bytes_view view = std::as_bytes(std::span(found.get_binary()));
        return {view.begin(), view.end()};
    }
    static bool is_compressed(const json& header) {
        const auto found = header.find("compression");
        if (found == header.end()) return false;
        if (!found->is_array()) return found->is_string();
        return std::any_of(found->begin(), found->end(), [](const json& c) { return c.is_string(); });
    }
};

/// Puts messages together from the bytes of a stream. What the other side announces is checked before it is used, and
/// memory is taken as bytes arrive: at first `taken_at_once`, then four times what came.
class message_reader {
public:
    static constexpr std::uint64_t most_bytes = std::uint64_t{1} << 46;
    static constexpr std::uint64_t most_head = 256U << 20; // of the head: it becomes JSON, which takes far more
    static constexpr std::size_t taken_at_once = 1U << 20;

    /// Takes some bytes of the stream, up to the end of the message. @return How many were taken.
    /// @throws serialization_error where they are no message.
    std::size_t feed(bytes_view bytes) { return detail::feed_copies(*this, bytes); }

    /// Where the next bytes belong, for who puts them there himself (worth it where there is room for many). Never
    /// empty before the message is complete.
    [[nodiscard]] std::span<std::byte> space() {
        if (stage_ == stage::start) return std::as_writable_bytes(std::span(start_)).subspan(have_);
        if (stage_ == stage::table) {
            if (have_ == sizes_.size() * sizeof sizes_[0])
                sizes_.resize(std::min(count_, std::max(sizes_.size() * 4, taken_at_once / sizeof sizes_[0])));
            return std::as_writable_bytes(std::span(sizes_)).subspan(have_);
        }
        std::vector<std::byte>& frame = frames_[current_];
        const std::size_t size = sizes_[current_];
        if (have_ == frame.size()) frame.resize(std::min(size, std::max(have_ * 4, taken_at_once)));
        return std::span(frame).subspan(have_);
    }
    /// So many bytes were put there. @throws serialization_error where they are no message.
    void filled(std::size_t n) {
        have_ += n;
        if (stage_ == stage::start && have_ == sizeof start_) begin_table();
        if (stage_ == stage::table && have_ == count_ * sizeof sizes_[0]) begin_frames();
        while (stage_ == stage::frames && have_ == sizes_[current_]) {
            have_ = 0;
            if (++current_ == sizes_.size()) stage_ = stage::done;
        }
    }

    [[nodiscard]] bool complete() const noexcept { return stage_ == stage::done; }
    /// Whether nothing of a message has come yet.
    [[nodiscard]] bool at_start() const noexcept { return stage_ == stage::start && have_ == 0; }

    /// The message, once it is complete. Begins with the next. @throws serialization_error where the head is broken.
    [[nodiscard]] message take() {
        message result{{}, std::exchange(frames_, {})};
        sizes_.clear();
        stage_ = stage::start;
        have_ = current_ = 0;
        result.head = msgpack_reader::read(std::exchange(result.frames.front(), {}));
        return result;
    }

private:
    enum class stage { start, table, frames, done };

    void begin_table() {
        const std::uint64_t count = start_[1];
        // Any number that the announced size has room for: their table is read as it arrives.
        if (count == 0 || start_[0] > most_bytes || start_[0] / 8 < count + 1 || count > most_bytes / 8)
            broken_message("its number of frames is impossible");
        count_ = static_cast<std::size_t>(count);
        stage_ = stage::table;
        have_ = 0;
    }
    void begin_frames() {
        std::uint64_t sum = 0;
        for (const std::uint64_t size : sizes_) {
            if (size > most_bytes || (sum += size) > most_bytes) broken_message("it is too large");
        }
        if (sizes_.front() > most_head) broken_message("its head is too large");
        // What it says of its own size is always of the frames' beginning: another stream would hardly do so.
        if (start_[0] < 8 + 8 * sizes_.size() || start_[0] > 8 + 8 * sizes_.size() + sum) broken_message("it is none");
        frames_.resize(sizes_.size());
        stage_ = stage::frames;
        have_ = 0;
    }

    std::array<std::uint64_t, 2> start_{}; // the size of something, the number of frames
    std::vector<std::uint64_t> sizes_;     // of frames, as far as there was room for them
    std::size_t count_ = 0;                // of frames
    std::vector<std::vector<std::byte>> frames_;
    stage stage_ = stage::start;
    std::size_t current_ = 0; // frame
    std::size_t have_ = 0;    // bytes of the stage, or of the frame
};

/// What both sides send first on every connection. "compression": null keeps the connection uncompressed.
[[nodiscard]] inline json handshake() {
    return {{"compression", nullptr}, {"python", {3, 11, 0}}, {"pickle-protocol", 4}};
}

} // namespace joblot::dask::engine

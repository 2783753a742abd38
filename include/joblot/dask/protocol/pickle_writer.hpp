// SPDX-License-Identifier: BSL-1.0
// Writes the few pickles that a client of Dask needs: graphs, annotations, plugins. Protocol 4, which every Python
// since 3.4 reads.
#pragma once

// A pickle is a program for a stack machine: values are pushed, and operations take what is above a mark, or the last
// one or two values. So `p.begin_dict(); p.text("a"); p.number(1); p.end_dict();` is {"a": 1}, and
// `p.global("m", "f"); p.begin(); p.number(1); p.tuple(); p.call();` is m.f(1).

#include <joblot/error.hpp>
#include <joblot/wire/parcel.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Writes one pickle.
class pickle_writer {
public:
    pickle_writer() {
        op(0x80);
        op(4);
    }

    void none() { op('N'); }
    void boolean(bool b) { op(b ? 0x88 : 0x89); }
    void number(std::int64_t n) {
        op(0x8a); // LONG1
        op(8);
        raw(std::bit_cast<std::uint64_t>(n), 8);
    }
    void number(double n) {
        op('G');
        const auto bits = std::bit_cast<std::uint64_t>(n);
        for (int shift = 56; shift >= 0; shift -= 8) op(static_cast<std::uint8_t>(bits >> shift)); // big-endian
    }
    /// @param s UTF-8.
    void text(std::string_view s) {
        op(0x8d);
        raw(s.size(), 8);
        append(s.data(), s.size());
    }
    void bytes(detail::bytes_view b) {
        op(0x8e);
        raw(b.size(), 8);
        append(b.data(), b.size());
    }
    void bytes(std::string_view s) { bytes(std::as_bytes(std::span(s))); }
    /// A class or function of a module: "module", "name" or "class.member".
    void global(std::string_view module, std::string_view name) {
        text(module);
        text(name);
        op(0x93);
    }

    void empty_tuple() { op(')'); }
    void empty_dict() { op('}'); }
    /// Before the elements of a tuple or list.
    void begin() { op('('); }
    void end_tuple() { op('t'); }
    void end_list() { op('l'); }
    /// Before keys and values, in turns.
    void begin_dict() { op('('); }
    void end_dict() { op('d'); }

    /// Calls the last value but one with the last, a tuple.
    void call() { op('R'); }
    /// An instance of the class that is the last value but one, made by its `__new__` with the last, a tuple.
    void make() { op(0x81); }
    /// Gives the instance that is the last value but one the state that is the last.
    void set_state() { op('b'); }
    /// Keeps the last value as number `index`, for `again`.
    void remember(std::uint32_t index) {
        op('r');
        raw(index, 4);
    }
    void again(std::uint32_t index) {
        op('j');
        raw(index, 4);
    }

    void reserve(std::size_t size) { bytes_.reserve(size); }
    /// The pickle of the one value that is left.
    [[nodiscard]] std::vector<std::byte> finish() {
        op('.');
        return std::move(bytes_);
    }

private:
    void op(unsigned code) { bytes_.push_back(static_cast<std::byte>(code)); }
    void raw(std::uint64_t n, int size) {
        for (int i = 0; i != size; ++i) op(static_cast<std::uint8_t>(n >> (8 * i)));
    }
    void append(const void* data, std::size_t size) {
        const auto* const first = static_cast<const std::byte*>(data);
        bytes_.insert(bytes_.end(), first, first + size);
    }

    std::vector<std::byte> bytes_;
};

} // namespace joblot::dask::engine

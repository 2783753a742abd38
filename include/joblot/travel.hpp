// SPDX-License-Identifier: BSL-1.0
// What the author of a class says of how its values travel to other processes: as a container, as their bytes, by
// functions of their own, or never.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

namespace joblot {

/// Base of a `travel` for a container of one's own: it has `value_type`, `begin()` and `end()`, is made of a pair of
/// iterators (or of a pointer and a length), and its elements are all that there is to it.
struct travels_as_container {};

/// Base of a `travel` for a class that is trivially copyable and means the same in every process: no pointer, no
/// reference, no descriptor. joblot cannot see into private members, so somebody must say so.
struct travels_as_bytes {};

/// Base of a `travel` for a class that must stay in its process, whatever it is made of.
struct never_travels {};

/// To be specialised for a class, or a family of them, where joblot cannot see how it travels, or sees it wrong:
/// ```
/// template <> struct joblot::travel<ring_buffer> : joblot::travels_as_container {};
/// template <> struct joblot::travel<file_lock> : joblot::never_travels {};
/// template <> struct joblot::travel<matrix> {
///     template <class Archive> static void save(Archive& to, const matrix& m) {
///         to(m.rows(), m.columns());                       // any values that travel
///         to.elements(m.data(), m.rows() * m.columns());   // plain ones, as a block that is not copied
///     }
///     template <class Archive> static matrix load(Archive& from) {
///         const auto rows = from.template read<std::size_t>(), columns = from.template read<std::size_t>();
///         return matrix(rows, columns, from.template elements<double>(rows * columns).data());
///     }
/// };
/// ```
/// `to.elements(first, n)` takes elements that belong to the value and travel as their bytes; `from.elements<E>(n)`
/// gives a `std::span<const E>` of them, where they have arrived, and throws `serialization_error` where there are not
/// so many. A specialisation goes before everything else, a `serialize` too. It must be seen before the first task of
/// that type is made, in every file alike. With `static constexpr bool possible`, it travels only if that is true.
template <class T>
struct travel;

} // namespace joblot

#include <joblot/core/macros_back.hpp>

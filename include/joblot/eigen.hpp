// SPDX-License-Identifier: BSL-1.0
// Eigen's dense matrices, vectors and arrays, and its sparse matrices, in tasks for worker processes and clusters:
// their numbers travel as blocks of memory. Not part of joblot.hpp, as it needs Eigen.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/error.hpp>
#include <joblot/travel.hpp>
#include <joblot/wire/codec.hpp>

#include <Eigen/Core>
#include <Eigen/Geometry>
#include <Eigen/SparseCore>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>

namespace joblot {

namespace detail {

/// What `Eigen::Matrix` and `Eigen::Array` have in common. Numbers that are not plain (another class) go one by one.
template <class M>
struct travel_of_dense {
    using scalar = typename M::Scalar;
    static constexpr bool possible = travels<scalar>;
    static constexpr bool as_block = is_raw<scalar> && alignof(scalar) <= stream_alignment;

    template <class Archive>
    static void save(Archive& to, const M& m) {
        to(static_cast<std::ptrdiff_t>(m.rows()), static_cast<std::ptrdiff_t>(m.cols()));
        if constexpr (as_block) {
            to.elements(m.data(), static_cast<std::size_t>(m.size()));
        } else {
            for (Eigen::Index i = 0; i != m.size(); ++i) to(m.data()[i]);
        }
    }
    template <class Archive>
    static M load(Archive& from) {
        const auto rows = from.template read<std::ptrdiff_t>(), columns = from.template read<std::ptrdiff_t>();
        const std::size_t n = checked_size(rows, columns);
        if constexpr (as_block) {
            const std::span<const scalar> numbers = from.template elements<scalar>(n);
            return with_data(rows, columns, numbers.data());
        } else {
            if (n > from.message().remaining()) broken();
            M m = with_data(rows, columns, nullptr);
            for (std::size_t i = 0; i != n; ++i) m.data()[i] = from.template read<scalar>();
            return m;
        }
    }

private:
    [[noreturn]] static void broken() {
        throw serialization_error("joblot: bytes that do not decode: the shape of a matrix", name_for_errors<M>());
    }
    static std::size_t checked_size(std::ptrdiff_t rows, std::ptrdiff_t columns) {
        constexpr auto fits = [](std::ptrdiff_t n, int fixed, int most) {
            return n >= 0 && (fixed == Eigen::Dynamic || n == fixed) && (most == Eigen::Dynamic || n <= most);
        };
        if (!fits(rows, M::RowsAtCompileTime, M::MaxRowsAtCompileTime) ||
            !fits(columns, M::ColsAtCompileTime, M::MaxColsAtCompileTime) ||
            (columns != 0 && rows > std::numeric_limits<std::ptrdiff_t>::max() / columns))
            broken();
        return static_cast<std::size_t>(rows * columns);
    }
    static M with_data(std::ptrdiff_t rows, std::ptrdiff_t columns, const scalar* numbers) {
        M m;
        m.resize(rows, columns); // nothing for a fixed size
        if (numbers) std::copy_n(numbers, rows * columns, m.data());
        return m;
    }
};

/// Three blocks, as Eigen holds a compressed matrix: starts of columns (or rows), positions, numbers.
template <class M>
struct travel_of_sparse {
    using scalar = typename M::Scalar;
    using index = typename M::StorageIndex;
    static constexpr bool possible = is_raw<scalar> && alignof(scalar) <= stream_alignment;

    template <class Archive>
    static void save(Archive& to, const M& m) {
        std::shared_ptr<M> copy;
        if (!m.isCompressed()) {
            copy = std::make_shared<M>(m);
            copy->makeCompressed();
        }
        const M& source = copy ? *copy : m;
        const auto n = static_cast<std::size_t>(source.nonZeros());
        to(static_cast<std::ptrdiff_t>(m.rows()), static_cast<std::ptrdiff_t>(m.cols()), n);
        to.elements(source.outerIndexPtr(), static_cast<std::size_t>(source.outerSize()) + 1, copy);
        to.elements(source.innerIndexPtr(), n, copy);
        to.elements(source.valuePtr(), n, copy);
    }
    template <class Archive>
    static M load(Archive& from) {
        const auto rows = from.template read<std::ptrdiff_t>(), columns = from.template read<std::ptrdiff_t>();
        const auto n = from.template read<std::size_t>();
        const std::ptrdiff_t outer = M::IsRowMajor ? rows : columns, inner = M::IsRowMajor ? columns : rows;
        constexpr std::ptrdiff_t most = std::numeric_limits<index>::max();
        if (rows < 0 || columns < 0 || outer >= most || inner > most || n > static_cast<std::size_t>(most)) broken();
        const auto starts = from.template elements<index>(static_cast<std::size_t>(outer) + 1);
        const auto positions = from.template elements<index>(n);
        const auto numbers = from.template elements<scalar>(n);
        check(starts, positions, inner);
        M m(rows, columns);
        m.resizeNonZeros(static_cast<Eigen::Index>(n));
        std::copy_n(starts.data(), starts.size(), m.outerIndexPtr());
        std::copy_n(positions.data(), n, m.innerIndexPtr());
        std::copy_n(numbers.data(), n, m.valuePtr());
        return m;
    }

private:
    [[noreturn]] static void broken() {
        throw serialization_error("joblot: bytes that do not decode: the structure of a sparse matrix",
                                  name_for_errors<M>());
    }
    /// Everything that Eigen takes for granted.
    static void check(std::span<const index> starts, std::span<const index> positions, std::ptrdiff_t inner) {
        if (starts.front() != 0 || static_cast<std::size_t>(starts.back()) != positions.size()) broken();
        for (std::size_t o = 0; o + 1 != starts.size(); ++o) {
            if (starts[o] > starts[o + 1] || static_cast<std::size_t>(starts[o + 1]) > positions.size()) broken();
            std::ptrdiff_t before = -1;
            for (auto i = starts[o]; i != starts[o + 1]; ++i) {
                const std::ptrdiff_t at = positions[static_cast<std::size_t>(i)];
                if (at <= before || at >= inner) broken();
                before = at;
            }
        }
    }
};

} // namespace detail

/// Dense matrices and vectors, of fixed or dynamic size.
template <class S, int R, int C, int O, int MaxR, int MaxC>
struct travel<Eigen::Matrix<S, R, C, O, MaxR, MaxC>> : detail::travel_of_dense<Eigen::Matrix<S, R, C, O, MaxR, MaxC>> {
};
template <class S, int R, int C, int O, int MaxR, int MaxC>
struct travel<Eigen::Array<S, R, C, O, MaxR, MaxC>> : detail::travel_of_dense<Eigen::Array<S, R, C, O, MaxR, MaxC>> {};
/// Sparse matrices; one that is not compressed is so when it arrives.
template <class S, int O, class I>
struct travel<Eigen::SparseMatrix<S, O, I>> : detail::travel_of_sparse<Eigen::SparseMatrix<S, O, I>> {};

/// Geometry: by the matrix or vector that each is made of.
template <class S, int O>
struct travel<Eigen::Quaternion<S, O>> {
    using coefficients = Eigen::Matrix<S, 4, 1>;
    static constexpr bool possible = detail::travels<coefficients>;
    template <class Archive>
    static void save(Archive& to, const Eigen::Quaternion<S, O>& q) {
        to(coefficients(q.coeffs()));
    }
    template <class Archive>
    static Eigen::Quaternion<S, O> load(Archive& from) {
        return Eigen::Quaternion<S, O>(from.template read<coefficients>());
    }
};
template <class S>
struct travel<Eigen::AngleAxis<S>> {
    using vector = Eigen::Matrix<S, 3, 1>;
    static constexpr bool possible = detail::travels<vector>;
    template <class Archive>
    static void save(Archive& to, const Eigen::AngleAxis<S>& a) {
        to(a.angle(), vector(a.axis()));
    }
    template <class Archive>
    static Eigen::AngleAxis<S> load(Archive& from) {
        const S angle = from.template read<S>();
        return {angle, from.template read<vector>()};
    }
};
template <class S, int D, int M, int O>
struct travel<Eigen::Transform<S, D, M, O>> {
    using transform = Eigen::Transform<S, D, M, O>;
    using matrix = typename transform::MatrixType;
    static constexpr bool possible = detail::travels<matrix>;
    template <class Archive>
    static void save(Archive& to, const transform& t) {
        to(t.matrix());
    }
    template <class Archive>
    static transform load(Archive& from) {
        transform t;
        t.matrix() = from.template read<matrix>();
        return t;
    }
};
template <class S, int D>
struct travel<Eigen::Translation<S, D>> {
    using vector = Eigen::Matrix<S, D, 1>;
    static constexpr bool possible = detail::travels<vector>;
    template <class Archive>
    static void save(Archive& to, const Eigen::Translation<S, D>& t) {
        to(t.vector());
    }
    template <class Archive>
    static Eigen::Translation<S, D> load(Archive& from) {
        return Eigen::Translation<S, D>(from.template read<vector>());
    }
};
template <class S, int D>
struct travel<Eigen::AlignedBox<S, D>> {
    using vector = typename Eigen::AlignedBox<S, D>::VectorType;
    static constexpr bool possible = detail::travels<vector>;
    template <class Archive>
    static void save(Archive& to, const Eigen::AlignedBox<S, D>& b) {
        to(vector((b.min)()), vector((b.max)()));
    }
    template <class Archive>
    static Eigen::AlignedBox<S, D> load(Archive& from) {
        const auto low = from.template read<vector>();
        return {low, from.template read<vector>()};
    }
};
template <class S, int D, int MaxD>
struct travel<Eigen::DiagonalMatrix<S, D, MaxD>> {
    using vector = typename Eigen::DiagonalMatrix<S, D, MaxD>::DiagonalVectorType;
    static constexpr bool possible = detail::travels<vector>;
    template <class Archive>
    static void save(Archive& to, const Eigen::DiagonalMatrix<S, D, MaxD>& m) {
        to(m.diagonal());
    }
    template <class Archive>
    static Eigen::DiagonalMatrix<S, D, MaxD> load(Archive& from) {
        return Eigen::DiagonalMatrix<S, D, MaxD>(from.template read<vector>());
    }
};

} // namespace joblot

#include <joblot/core/macros_back.hpp>

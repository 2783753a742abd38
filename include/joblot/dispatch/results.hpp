// SPDX-License-Identifier: BSL-1.0
// Where the results of a call are kept until all are there.
#pragma once

#include <joblot/dispatch/size.hpp>
#include <joblot/outcome.hpp>
#include <joblot/wire/remote_task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// All have the same members: `put(k, make)` keeps what `make()` returns as result k; different threads may put
// different results at the same time. `take()` gives them all, `take(list)` appends them; for when nobody puts any
// more. `most` is how many there can be.

/// As many as memory has addresses for.
template <class T>
inline constexpr std::size_t most_values = static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T);

/// Where results share nothing.
struct nothing_shared {};

/// What holds of most results.
struct plain_results {
    using how = result_sent;                      ///< what becomes of a result in another process
    using shared = nothing_shared;                ///< what all tasks of a call refer to
    static constexpr bool keeps_failures = false; ///< whether a failure is a result, too
};

/// For tasks without a result.
class no_results : public plain_results {
public:
    static constexpr std::size_t most = largest_size;

    explicit no_results(std::size_t) {}
    template <class Make>
    void put(std::size_t, Make&& make) {
        static_cast<void>(std::forward<Make>(make)());
    }
    void take() {}
};

/// For numbers and the like: they are written where the caller will find them.
template <class R>
class direct_results : public plain_results {
    struct pointer {
        R* values;
        template <class Make>
        void put(std::size_t k, Make&& make) const {
            values[k] = std::forward<Make>(make)();
        }
    };

public:
    static constexpr std::size_t most = most_values<R>;

    explicit direct_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        bare().put(k, std::forward<Make>(make));
    }
    std::vector<R> take() { return std::move(values_); }
    void take(std::vector<R>& all) { all.insert(all.end(), values_.begin(), values_.end()); }
    pointer bare() noexcept { return {values_.data()}; }

private:
    std::vector<R> values_;
};

/// For everything else that can be moved. An optional of its own for each result, so `bool`s share no byte.
template <class R>
class movable_results : public plain_results {
public:
    static constexpr std::size_t most = most_values<std::optional<R>>;

    explicit movable_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        values_[k].emplace(std::forward<Make>(make)());
    }
    std::vector<R> take() {
        std::vector<R> all;
        all.reserve(values_.size());
        take(all);
        return all;
    }
    void take(std::vector<R>& all) {
        for (auto& v : values_) all.push_back(std::move(*v));
    }
    std::optional<R>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<R>> values_;
};

/// For results that are handed out one by one; `void` becomes `std::monostate`.
template <class R>
class streamed_results : public plain_results {
public:
    explicit streamed_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        if constexpr (std::is_void_v<R>) {
            std::forward<Make>(make)();
            values_[k].emplace();
        } else {
            values_[k].emplace(std::forward<Make>(make)());
        }
    }
    std::optional<stored_t<R>>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<stored_t<R>>> values_;
};

/// For `outcomes`: failures are results too.
template <class R>
class outcome_results : public plain_results {
public:
    static constexpr bool keeps_failures = true;
    static constexpr std::size_t most = most_values<std::optional<outcome<R>>>;
    using list = std::vector<outcome<R>>;

    explicit outcome_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        if constexpr (std::is_void_v<R>) {
            std::forward<Make>(make)();
            values_[k].emplace(std::in_place, std::monostate{});
        } else {
            values_[k].emplace(std::in_place, std::forward<Make>(make)());
        }
    }
    void put_failure(std::size_t k, failure f) { values_[k].emplace(std::move(f)); }
    /// Value k, which is there, came at that try.
    void note_tries(std::size_t k, int tries) { values_[k]->tries_ = tries; }
    /// Fills in what a stopped call has left; not in `take`, where it costs each task of every call 12 instructions.
    /// @param missing Gives the failure of task k, which did not end.
    template <class Missing>
    void fill(Missing missing) {
        for (std::size_t k = 0; k != values_.size(); ++k) {
            if (!values_[k]) put_failure(k, missing(k));
        }
    }
    /// Appends all of them to `all`, where they have the indices that they have in the call.
    void take(list& all) {
        for (auto& v : values_) {
            v->index_ = all.size();
            all.push_back(std::move(*v));
        }
    }
    std::optional<outcome<R>>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<outcome<R>>> values_;
};

template <class R>
concept plain_number_like = std::is_trivially_default_constructible_v<R> && std::is_trivially_copyable_v<R> &&
                            std::is_move_assignable_v<R> && !std::same_as<R, bool>;

template <class R>
struct list_results_of {
    using type = movable_results<R>;
};
template <plain_number_like R>
struct list_results_of<R> {
    using type = direct_results<R>;
};
template <>
struct list_results_of<void> {
    using type = no_results;
};

/// What keeps the results of a call that returns a `std::vector<R>`, or nothing for `void`.
template <class R>
using list_results = typename list_results_of<R>::type;

/// For tasks whose results nobody wants.
class dropped_results : public no_results {
public:
    using no_results::no_results;
    using how = result_dropped;
};

template <class Results>
inline constexpr bool keeps_failures = Results::keeps_failures;
template <class Results>
inline constexpr bool combines = !std::is_same_v<typename Results::shared, nothing_shared>;
/// Whether there is nothing to be taken from a task that has ended.
template <class Results>
inline constexpr bool keeps_nothing = combines<Results> || std::is_base_of_v<no_results, Results>;

} // namespace joblot::detail

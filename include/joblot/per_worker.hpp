// SPDX-License-Identifier: BSL-1.0
// `per_worker<T>`: a value that each worker of a call makes once, and that its tasks use one after the other.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/worker_values.hpp>
#include <joblot/this_task.hpp>
#include <joblot/travel.hpp>
#include <joblot/wire/kinds.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace joblot {

/// A handle to scratch memory, a connection, a cache: one T for each worker of a call. Pass it to tasks as an argument;
/// a task may take it as a `T&`.
///
/// A worker makes its T at the first use in a call, by the function that the handle was made from, and uses it for its
/// tasks, one at a time. In worker processes and on clusters it lives there. It goes at the end of the call; on a
/// cluster, where workers are not told of that, when they begin another one. What is in it never comes back: return
/// what you need, or use `Parallel::reduce`.
///
/// Copies are the same handle. Thread-safe; a T is used by one thread at a time.
///
/// @tparam Make What makes a T. To travel to other processes it must be able to: a function, a lambda that captures
///              nothing, a functor of plain members.
template <class T, class Make = T (*)()>
class per_worker {
public:
    using value_type = T;

    /// Of values that begin as `T()`.
    per_worker()
        requires std::same_as<Make, T (*)()> && std::default_initializable<T>
        : per_worker([] { return T(); }) {}
    /// @param make Gives a T. What it throws fails the task that asked.
    explicit per_worker(Make make) : kind_(detail::fresh_number()), make_(std::move(make)) {}
    /// For the library's own parts: a handle that has come from another process.
    per_worker(std::uint64_t kind, Make make) : kind_(kind), make_(std::move(make)) {}

    /// The value of the worker that runs this task; in nested calls, the innermost one.
    /// @throws std::logic_error outside of a task; what making the value throws.
    [[nodiscard]] T& local() const {
        detail::task_context* const task = detail::current_task;
        if (!task || !task->values)
            throw std::logic_error("joblot: a per_worker value was asked for outside of a task");
        if (task->kind_at_hand != kind_) {
            task->value_at_hand =
                task->values->get(kind_, task->worker_id, [this] { return std::make_shared<holder>(make_); });
            task->kind_at_hand = kind_;
        }
        return static_cast<holder*>(task->value_at_hand)->value;
    }
    [[nodiscard]] T& operator*() const { return local(); }
    [[nodiscard]] T* operator->() const { return std::addressof(local()); }
    operator T&() const { return local(); }

    // For the library's own parts.
    [[nodiscard]] std::uint64_t number() const noexcept { return kind_; }
    [[nodiscard]] const Make& maker() const noexcept { return make_; }

private:
    struct holder { // T need not be movable
        explicit holder(const Make& make) : value(make()) {}
        T value;
    };

    std::uint64_t kind_;
    Make make_;
};

template <class Make>
per_worker(Make) -> per_worker<std::decay_t<std::invoke_result_t<const Make&>>, Make>;

/// The handle travels, and the value is made where it arrives.
template <class T, class Make>
struct travel<per_worker<T, Make>> {
    static constexpr bool possible = detail::travels<Make>;

    template <class Archive>
    static void save(Archive& to, const per_worker<T, Make>& handle) {
        detail::values_travel().store(true, std::memory_order_relaxed);
        to(handle.number(), handle.maker());
    }
    template <class Archive>
    static per_worker<T, Make> load(Archive& from) {
        const auto kind = from.template read<std::uint64_t>();
        return {kind, from.template read<Make>()};
    }
};

} // namespace joblot

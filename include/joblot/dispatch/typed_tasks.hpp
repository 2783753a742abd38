// SPDX-License-Identifier: BSL-1.0
// Tasks and the places of their results, of known types: what both kinds of job have in common.
#pragma once

#include <joblot/dispatch/batch.hpp>
#include <joblot/dispatch/execute.hpp>
#include <joblot/dispatch/results.hpp>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// Tasks without their results.
/// @tparam How What becomes of results in another process.
template <class Base, class Tasks, class How>
class bare_tasks : public Base {
    using tasks_type = std::remove_reference_t<Tasks>;

public:
    using result_type = typename tasks_type::result_type;

    [[nodiscard]] std::string label(std::size_t index) noexcept override {
        const std::size_t k = index - Base::first;
        return k < tasks_.size() ? label_or_nothing(tasks_, k) : std::string(); // they may be gone already
    }
    void encode(std::size_t index, encoder& to) override { tasks_.encode(index - Base::first, to); }
    void run_forked(std::size_t index, encoder& to, result_listener& then) override {
        tasks_.run_forked(index - Base::first, to, then, How());
    }

    [[nodiscard]] tasks_type& tasks() noexcept { return tasks_; }

protected:
    explicit bare_tasks(Tasks tasks) : tasks_(tasks) {}
    /// Tasks that are still to come.
    explicit bare_tasks(std::size_t first_index) : Base(first_index) {}

    /// Makes a task's call. @param keep_task Whether it may be made again.
    result_type call(std::size_t index, [[maybe_unused]] bool keep_task) {
        const std::size_t k = index - Base::first;
        if constexpr (tasks_type::repeatable) {
            if (keep_task) return tasks_.call_again(k);
        }
        return tasks_.call(k);
    }

    Tasks tasks_;
};

/// @tparam Base    Of `any_tasks`; its member `first` is the index of the first of the tasks.
/// @tparam Tasks   Where they come from (see source.hpp); a reference, if it is the job's.
/// @tparam Results Where results go (see results.hpp).
template <class Base, class Tasks, class Results>
class typed_tasks : public bare_tasks<Base, Tasks, typename Results::how> {
    using base = bare_tasks<Base, Tasks, typename Results::how>;

public:
    typed_tasks(Tasks tasks, std::size_t size, nothing_shared) : base(tasks), results_(size) {}
    /// Tasks that are still to come.
    typed_tasks(std::size_t first_index, nothing_shared) : base(first_index), results_(0) {}

    std::size_t run(job& j, worker& w, const batch& b, bool careful) override {
        return careful ? run_careful(j, w, b) : run_plain(j, w, b, this->tasks_, results_, Base::first);
    }
    void attempt(std::size_t index, bool keep_task) override {
        results_.put(index - Base::first, [&]() -> decltype(auto) { return this->call(index, keep_task); });
    }
    void drop_result([[maybe_unused]] std::size_t index) override {
        if constexpr (keeps_failures<Results>) results_[index - Base::first].reset();
    }
    bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
        if constexpr (keeps_failures<Results>) results_.put_failure(index - Base::first, std::move(f));
        return keeps_failures<Results>;
    }
    void result_stands([[maybe_unused]] std::size_t index, [[maybe_unused]] int tries) override {
        if constexpr (keeps_failures<Results>) {
            if (tries > 1) results_.note_tries(index - Base::first, tries);
        }
    }
    void decode([[maybe_unused]] std::size_t index, [[maybe_unused]] decoder& from) override {
        if constexpr (std::is_same_v<typename Results::how, result_sent>) {
            const std::size_t k = index - Base::first;
            results_.put(k, [&]() -> decltype(auto) { return this->tasks_.decode(k, from); });
        }
    }

    [[nodiscard]] Results& results() noexcept { return results_; }

protected:
    Results results_;
};

} // namespace joblot::detail

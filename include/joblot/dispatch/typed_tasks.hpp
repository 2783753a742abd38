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

/// @tparam Base    Of `any_tasks`; its member `first` is the index of the first of the tasks.
/// @tparam Tasks   Where they come from (see source.hpp); a reference, if it is the job's.
/// @tparam Results Where results go (see results.hpp).
template <class Base, class Tasks, class Results>
class typed_tasks : public Base {
    using tasks_type = std::remove_reference_t<Tasks>;

public:
    typed_tasks(Tasks tasks, std::size_t size, nothing_shared) : tasks_(tasks), results_(size) {}
    /// Tasks that are still to come.
    typed_tasks(std::size_t first_index, nothing_shared) : Base(first_index), results_(0) {}

    std::size_t run(job& j, worker& w, const batch& b, bool careful) override {
        return careful ? run_careful(j, w, b) : run_plain(j, w, b, tasks_, results_, Base::first);
    }
    void attempt(std::size_t index, [[maybe_unused]] bool keep_task) override {
        const std::size_t k = index - Base::first;
        results_.put(k, [&]() -> typename tasks_type::result_type {
            if constexpr (tasks_type::repeatable) {
                if (keep_task) return tasks_.call_again(k);
            }
            return tasks_.call(k);
        });
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
    [[nodiscard]] std::string label(std::size_t index) noexcept override {
        const std::size_t k = index - Base::first;
        return k < tasks_.size() ? label_or_nothing(tasks_, k) : std::string(); // they may be gone already
    }
    void encode(std::size_t index, encoder& to) override { tasks_.encode(index - Base::first, to); }
    void run_forked(std::size_t index, encoder& to, result_listener& then) override {
        tasks_.run_forked(index - Base::first, to, then, how_of_t<Results>());
    }
    void decode([[maybe_unused]] std::size_t index, [[maybe_unused]] decoder& from) override {
        if constexpr (std::is_same_v<how_of_t<Results>, result_sent>) {
            const std::size_t k = index - Base::first;
            results_.put(k, [&]() -> decltype(auto) { return tasks_.decode(k, from); });
        }
    }

    [[nodiscard]] tasks_type& tasks() noexcept { return tasks_; }
    [[nodiscard]] Results& results() noexcept { return results_; }

protected:
    Tasks tasks_;
    Results results_;
};

} // namespace joblot::detail

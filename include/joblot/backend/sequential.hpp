// SPDX-License-Identifier: BSL-1.0
// The sequential backend: every task runs on the calling thread, in order. For debugging and for comparison.
#pragma once

#include <joblot/backend/backend.hpp>

#include <memory>
#include <string>

namespace joblot {

namespace detail {

class sequential_backend final : public backend {
public:
    [[nodiscard]] std::string name() const override { return "SequentialBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override { return {.in_caller = true}; }
    [[nodiscard]] int effective_n_jobs(int) const override { return 1; }
    void run(job& j) override {
        do j.work(0);
        while (j.wait());
    }
};

} // namespace detail

/// Describes the sequential backend, by name `"sequential"`: one task after the other on the calling thread, whatever
/// `n_jobs` says.
struct sequential {
    [[nodiscard]] std::shared_ptr<backend> make() const {
        // Never destroyed: calls are made from static destructors too.
        static const auto* const shared = new std::shared_ptr<backend>(std::make_shared<detail::sequential_backend>());
        return *shared;
    }
};

} // namespace joblot

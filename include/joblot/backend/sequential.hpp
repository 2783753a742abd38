// SPDX-License-Identifier: BSL-1.0
// The sequential backend: every task runs on the calling thread, in order. For debugging and for comparison.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

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
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] std::shared_ptr<backend> make() const {
        static constinit detail::made_once<const std::shared_ptr<backend>> shared;
        return shared.get([] { return std::make_shared<detail::sequential_backend>(); });
    }
};

} // namespace joblot

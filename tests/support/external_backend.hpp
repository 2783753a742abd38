// SPDX-License-Identifier: BSL-1.0
// A backend written outside of the library, against nothing but the public contract of <joblot/backend/backend.hpp>:
// one std::thread for each worker, started for each call. The conformance suite runs on it as on the built-in ones.
#pragma once

#include <joblot/joblot.hpp>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace support {

class thread_per_worker final : public joblot::backend {
public:
    std::string name() const override { return "ThreadPerWorkerBackend"; }
    int effective_n_jobs(int n) const override { return n > 0 ? n : std::max(1, joblot::cpu_count() + 1 + n); }
    void run(joblot::job& job) override {
        std::vector<std::jthread> helpers;
        for (int id = 1; id < job.n_jobs(); ++id) helpers.emplace_back([&job, id] { work(job, id); });
        work(job, 0);
    }

private:
    static void work(joblot::job& job, int id) {
        do job.work(id);
        while (job.wait());
    }
};

inline std::shared_ptr<joblot::backend> make_thread_per_worker() { return std::make_shared<thread_per_worker>(); }

} // namespace support

// SPDX-License-Identifier: BSL-1.0
// Makes the conformance tests, whose objects this is linked with, run on a Dask cluster and on nothing else.

#include "../cluster.hpp"
#include "../hang_report.hpp"

#include "../../support/backends.hpp"

#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

namespace {

joblot::dask::backend on_cluster() { return support::on_cluster(); }

std::vector<support::backend_case> dask_alone() {
    return {{.name = "Dask",
             .activate = [](std::optional<joblot::parallel_backend>& g) { g.emplace(on_cluster()); },
             .choose = [] { return joblot::backend_choice{on_cluster()}; },
             .line_name = "DaskDistributedBackend",
             .shared_memory = false,
             .can_kill = true,
             .pooled = false,
             .closures = false,
             .costly = true,
             .tells_end_of_call = false,
             .in_order = false, // the cluster's workers are as many as they are
             .most_tasks = 200}};
}

[[maybe_unused]] const bool chosen = [] {
    support::other_backends = dask_alone;
    support::on_hang = support::report_clusters;
    return true;
}();

/// Skips all of it where there is no Dask.
class needs_dask final : public Catch::EventListenerBase {
public:
    using EventListenerBase::EventListenerBase;

    void testRunStarting(const Catch::TestRunInfo&) override {
        if (::access(support::dask_python().c_str(), X_OK) == 0) return;
        std::fprintf(stderr, "skipped: JOBLOT_TEST_DASK_PYTHON is '%s'\n", support::dask_python().c_str());
        std::_Exit(77);
    }
};

} // namespace

CATCH_REGISTER_LISTENER(needs_dask)

// SPDX-License-Identifier: BSL-1.0
// Results that were computed from results: their lineages go with the last of them.
#include <joblot/dask/data/lineage.hpp>

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

using joblot::dask::engine::lineage;
using joblot::dask::engine::task_submission;

TEST_CASE("a long lineage needs no deep stack to go", "[dask][persist]") {
    std::shared_ptr<const lineage> last;
    std::weak_ptr<const lineage> first;
    for (int i = 0; i != 300'000; ++i) {
        task_submission task;
        task.key = std::to_string(i);
        last = std::make_shared<const lineage>(nullptr, std::move(task), joblot::dask::engine::task_options{},
                                               std::vector<lineage::argument>{{nullptr, std::move(last)}});
        if (i == 0) first = last;
    }
    CHECK(!first.expired());
    last = nullptr;
    CHECK(first.expired());
}

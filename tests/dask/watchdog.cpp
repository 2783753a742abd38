// SPDX-License-Identifier: BSL-1.0
// The watchdog of the conformance tests, for these tests as well.
#include "../conformance/watchdog.cpp"

#include "hang_report.hpp"

namespace {
[[maybe_unused]] const bool reports = (support::on_hang = support::report_clusters, true);
}

// SPDX-License-Identifier: BSL-1.0
// What a scheduler understands, by the version of distributed that it runs.

#include <joblot/dask/protocol/versions.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

namespace {

using namespace joblot::dask::engine;

std::string refusal(const char* version) {
    try {
        const dialect unexpected(version);
        return "taken for " + unexpected.version().text();
    } catch (const joblot::backend_error& e) {
        return e.what();
    }
}

} // namespace

TEST_CASE("versions are read and compared as numbers", "[dask][versions]") {
    CHECK(distributed_version::of("2022.12.1").text() == "2022.12.1");
    CHECK(distributed_version::of("2024.9") == distributed_version{2024, 9, 0});
    CHECK(distributed_version::of("2026.8.0+4.gabcdef") == distributed_version{2026, 8, 0});
    CHECK(distributed_version::of("2026.8.0rc1") == distributed_version{2026, 8, 0});
    CHECK(distributed_version::of("2024.10.0") > distributed_version::of("2024.9.1"));
    CHECK(distributed_version::of("") == distributed_version{});
    CHECK(distributed_version::of("unknown") == distributed_version{});
    CHECK(distributed_version::of("99999999999.1.1").year == 0);
}

TEST_CASE("each version has its form of graph", "[dask][versions]") {
    using enum graph_form;
    const auto form = [](const char* version) { return dialect(version).form(); };
    CHECK(form("2022.12.1") == tasks);
    CHECK(form("2023.3.2.1") == tasks);
    CHECK(form("2023.4.0") == pickled_graph);
    CHECK(form("2024.5.0") == pickled_graph);
    CHECK(form("2024.5.1") == pickled_graph);
    CHECK(form("2024.5.2") == pickled_with_spans);
    CHECK(form("2025.2.0") == pickled_with_spans);
    CHECK(form("2025.3.1") == pickled_with_spans);
    CHECK(form("2025.4.0") == expression);
    CHECK(form("2026.8.0") == expression);
    CHECK(form("2031.1.0") == expression); // the newest that is known
}

TEST_CASE("requests and fields that came later", "[dask][versions]") {
    CHECK_FALSE(dialect("2023.3.0").cancels_by_stream());
    CHECK(dialect("2023.3.1").cancels_by_stream());
    CHECK_FALSE(dialect("2025.2.0").cancel_has_reason());
    CHECK(dialect("2025.3.0").cancel_has_reason());
    CHECK_FALSE(dialect("2025.3.1").identity_has_n_workers());
    CHECK(dialect("2025.4.0").identity_has_n_workers());
    CHECK_FALSE(dialect("2023.9.1").worker_plugin_has_idempotent());
    CHECK(dialect("2023.9.2").worker_plugin_has_idempotent());
    CHECK_FALSE(dialect("2024.10.0").has_task_ref());
    CHECK(dialect("2024.11.0").has_task_ref());
    CHECK_FALSE(dialect("2022.12.1").scheduler_needs_modules());
    CHECK(dialect("2023.4.0").scheduler_needs_modules());
    CHECK(dialect("2023.2.0").worker_reports_data());
    CHECK_FALSE(dialect("2023.2.1").worker_reports_data());
}

TEST_CASE("versions that are too old, or none, are refused with a reason", "[dask][versions]") {
    CHECK(refusal("2022.11.1").find("2022.11.1, which is too old; 2022.12 or newer") != std::string::npos);
    CHECK(refusal("1.28.0").find("too old") != std::string::npos);
    CHECK(refusal("").find("unknown version") != std::string::npos);
    CHECK(refusal("0+unknown").find("unknown version") != std::string::npos);
    CHECK(refusal("2022.12.0") == "taken for 2022.12.0");
}

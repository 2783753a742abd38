// SPDX-License-Identifier: BSL-1.0
// Local clusters of a program that was built without OpenSSL: they are open to others, which is said once, unless they
// were asked for like that. Compiled without JOBLOT_DASK_TLS.

#include "../../processes/programs/program.hpp"
#include "../../support/stderr_capture.hpp"

#include <joblot/dask/local/local_cluster.hpp>

using joblot::dask::local_cluster_options;
using joblot::dask::engine::local_cluster;

int main() {
    static_assert(!joblot::dask::engine::has_tls);
    const char* const python = std::getenv("JOBLOT_TEST_DASK_PYTHON");
    if (!python || ::access(python, X_OK) != 0) return 77;
    std::string address, failed;
    std::vector<std::string> wanted, first, more; // lines on stderr
    try {
        const local_cluster cluster(local_cluster_options{.python = python, .tls = true});
    } catch (const joblot::backend_error& e) {
        failed = e.what();
    }
    program::require(failed.find("needs OpenSSL") != failed.npos, "tls = true: " + failed);
    {
        support::stderr_capture said;
        const local_cluster cluster(local_cluster_options{.python = python, .tls = false});
        address = cluster.address();
        wanted = said.writes();
    }
    program::require(address.starts_with("tcp://127.0.0.1:") && wanted.empty(), "tls = false: " + address);
    {
        support::stderr_capture said;
        const local_cluster cluster(local_cluster_options{.python = python});
        address = cluster.address();
        first = said.writes();
    }
    program::require(address.starts_with("tcp://127.0.0.1:") && first.size() == 1 &&
                         first[0].find("any user of this machine") != std::string::npos,
                     "unset: " + address);
    {
        support::stderr_capture said;
        joblot::dask::engine::warn_of_open_cluster();
        more = said.writes();
    }
    program::require(more.empty(), "said again");
}

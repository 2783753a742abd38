// SPDX-License-Identifier: BSL-1.0
// How to reach a cluster, and what one on this machine is made of.
#pragma once

#include <joblot/core/requirements.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace joblot::dask {

/// The certificates of a cluster that is reached by tls://, as files in PEM format. Like in Dask, whoever has a
/// certificate that the authority signed belongs to the cluster, on whatever host.
///
/// What is left empty is taken from where Dask's own clients look: the environment variables
/// DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and
/// DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY.
struct tls_options {
    std::string ca{};          ///< of the authority that signed the cluster's certificates
    std::string certificate{}; ///< this side's, signed by the same one
    std::string key{};         ///< the certificate's private key; it may be in the same file
};

/// How to connect with a scheduler.
struct client_options {
    tls_options tls{};
    std::chrono::milliseconds timeout{10'000}; ///< until the connection stands; a scheduler may come up meanwhile
    std::chrono::milliseconds liveness_timeout{30'000}; ///< after which a scheduler that answers nothing is given up
};

/// The file that a scheduler wrote when it was started with `--scheduler-file`. It may come later.
struct scheduler_file {
    std::string path;
};

/// What a local cluster is made of. All of it listens on the loopback interface only.
struct local_cluster_options {
    int workers = 1; ///< worker processes of Python's; a native process for each of their threads comes on top
    std::optional<int> threads_per_worker{};       ///< tasks at once in each; unset: all cores, shared fairly
    std::string memory_limit = "auto";             ///< per worker, as Dask reads it: "2GiB"; "0": none
    std::string dashboard_address = "127.0.0.1:0"; ///< port 0: any free one; "": no dashboard
    std::string python{};                          ///< which Python; "": see JOBLOT_PYTHON
    std::chrono::milliseconds timeout{120'000};    ///< for the start of all of it
    /// Whether it is reached by tls:// alone, with a certificate that is made for it, in a file that only this user may
    /// read (`Client::tls`). Unset: where the program has OpenSSL (JOBLOT_DASK_TLS); where not, stderr is told once.
    /// False: every user of this machine may run code in it, in your name. True: an error without OpenSSL.
    std::optional<bool> tls{};
};

} // namespace joblot::dask

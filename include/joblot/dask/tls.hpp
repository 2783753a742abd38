// SPDX-License-Identifier: BSL-1.0
// Certificates for connections to tls:// addresses. Needs OpenSSL: JOBLOT_DASK_TLS says whether it is there and linked.
#pragma once

#include <joblot/error.hpp>

#include <cstdlib>
#include <memory>
#include <string>

#if defined(JOBLOT_DASK_TLS)
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/system/system_error.hpp>
#endif

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

namespace engine {

#if defined(JOBLOT_DASK_TLS)

using tls_context = boost::asio::ssl::context;

/// With what the environment says.
inline tls_options completed(tls_options options) {
    const auto from = [](std::string& to, const char* name) {
        const char* const value = std::getenv(name);
        if (to.empty() && value) to = value;
    };
    from(options.ca, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE");
    if (options.certificate.empty()) from(options.key, "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY");
    from(options.certificate, "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT");
    if (options.key.empty()) options.key = options.certificate;
    return options;
}

/// @throws backend_error that names the file that cannot be used.
inline std::shared_ptr<tls_context> make_tls_context(const tls_options& given) {
    const tls_options options = completed(given);
    auto context = std::make_shared<tls_context>(tls_context::tls_client);
    const auto use = [](const char* what, const std::string& file, auto load) {
        if (file.empty())
            throw backend_error(std::string("joblot: a tls:// address needs a file with ") + what +
                                "; give it in tls_options");
        boost::system::error_code failed;
        load(failed);
        if (failed)
            throw backend_error(std::string("joblot: ") + what + " cannot be read from " + file + ": " +
                                failed.message());
    };
    context->set_options(tls_context::default_workarounds | tls_context::no_sslv2 | tls_context::no_sslv3 |
                         tls_context::no_tlsv1 | tls_context::no_tlsv1_1);
    context->set_verify_mode(boost::asio::ssl::verify_peer | boost::asio::ssl::verify_fail_if_no_peer_cert);
    use("the authority's certificate (ca)", options.ca,
        [&](auto& failed) { context->load_verify_file(options.ca, failed); });
    use("the certificate", options.certificate,
        [&](auto& failed) { context->use_certificate_chain_file(options.certificate, failed); });
    use("the certificate's private key", options.key,
        [&](auto& failed) { context->use_private_key_file(options.key, tls_context::pem, failed); });
    return context;
}

#else

struct tls_context {};

[[noreturn]] inline std::shared_ptr<tls_context> make_tls_context(const tls_options&) {
    throw backend_error("joblot: a tls:// address needs OpenSSL, which this program was built without (CMake's target "
                        "joblot::dask uses it where it is installed; else define JOBLOT_DASK_TLS and link ssl and "
                        "crypto)");
}

#endif

} // namespace engine
} // namespace joblot::dask

// SPDX-License-Identifier: BSL-1.0
// Certificates for connections to tls:// addresses. Needs OpenSSL: JOBLOT_DASK_TLS says whether it is there and linked.
#pragma once

#include <joblot/dask/options.hpp>
#include <joblot/error.hpp>
#include <joblot/system/privileges.hpp>

#include <memory>
#include <string>

#if defined(JOBLOT_DASK_TLS)
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/system/system_error.hpp>
#endif

// Code that was compiled with the flag and without it must not meet in one program: the layout of `comm` differs. So
// what depends on the flag is in a namespace that is named after it; and a linker is given one symbol by each of the
// two kinds of files, in a section that files of the same kind share, so that two kinds are a multiple definition of
// it. Assembler, as no C++ entity can be both: inline among files of one kind, and defined twice by two kinds. Files of
// one kind may become one piece of assembler (-flto), hence the condition.
#if defined(JOBLOT_DASK_TLS)
#define JOBLOT_DASK_TLS_KIND with_tls
#else
#define JOBLOT_DASK_TLS_KIND without_tls
#endif
#define JOBLOT_DASK_TLS_MARK(kind) JOBLOT_DASK_TLS_MARK_OF(kind)
#define JOBLOT_DASK_TLS_MARK_OF(kind)                                                                                  \
    asm(".ifndef .Ljoblot_" #kind "\n"                                                                                 \
        ".set .Ljoblot_" #kind ", 1\n"                                                                                 \
        ".pushsection .rodata.joblot_dask_tls,\"aG\",%progbits,joblot_dask_" #kind ",comdat\n"                         \
        ".globl files_that_include_joblot_dask_engine_hpp_differ_in_JOBLOT_DASK_TLS\n"                                 \
        ".hidden files_that_include_joblot_dask_engine_hpp_differ_in_JOBLOT_DASK_TLS\n"                                \
        "files_that_include_joblot_dask_engine_hpp_differ_in_JOBLOT_DASK_TLS:\n"                                       \
        ".byte 0\n"                                                                                                    \
        ".popsection\n"                                                                                                \
        ".endif")
JOBLOT_DASK_TLS_MARK(JOBLOT_DASK_TLS_KIND);

namespace joblot::dask::engine {
inline namespace JOBLOT_DASK_TLS_KIND {

#if defined(JOBLOT_DASK_TLS)

using tls_context = boost::asio::ssl::context;

/// With what the environment says.
inline tls_options completed(tls_options options) {
    const auto from = [](std::string& to, const char* name) {
        const char* const value = detail::trusted_variable(name);
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

} // namespace JOBLOT_DASK_TLS_KIND
} // namespace joblot::dask::engine

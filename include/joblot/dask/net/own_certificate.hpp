// SPDX-License-Identifier: BSL-1.0
// A certificate for a cluster that a program starts for itself, where it has OpenSSL.
#pragma once

#include <joblot/dask/net/tls.hpp>
#include <joblot/error.hpp>
#include <joblot/system/descriptor.hpp>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#if defined(JOBLOT_DASK_TLS)
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#endif

namespace joblot::dask::engine {
inline namespace JOBLOT_DASK_TLS_KIND {

#if defined(JOBLOT_DASK_TLS)

inline constexpr bool has_tls = true;

/// A new key and its certificate, which has no other authority than itself: who trusts it trusts nobody else.
class own_certificate {
public:
    /// @throws backend_error where OpenSSL cannot.
    own_certificate() : key_(make_key()), certificate_(X509_new()) {
        X509* const c = certificate_.get();
        std::uint64_t serial = 0;
        require(c && RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1 &&
                X509_set_version(c, 2) == 1 && // the third one
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(c), serial >> 1U) == 1);
        constexpr int day = 86'400, years = 10; // a cluster may run long, and the clock be set meanwhile
        require(X509_gmtime_adj(X509_getm_notBefore(c), -day) &&
                X509_time_adj_ex(X509_getm_notAfter(c), 365 * years, 0, nullptr));
        X509_NAME* const name = X509_get_subject_name(c);
        const auto* const text = reinterpret_cast<const unsigned char*>("joblot's local cluster");
        require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0) == 1 &&
                X509_set_issuer_name(c, name) == 1 && X509_set_pubkey(c, key_.get()) == 1);
        extend(NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1");
        extend(NID_subject_key_identifier, "hash");
        require(X509_sign(c, key_.get(), EVP_sha256()) > 0);
    }

    /// Key and certificate, in PEM format, in a new file that only this user may read. @throws backend_error It cannot
    /// be written.
    void write(const std::string& path) const {
        const std::unique_ptr<BIO, freed_by<BIO_free>> memory(BIO_new(BIO_s_mem()));
        require(memory && PEM_write_bio_PrivateKey(memory.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) &&
                PEM_write_bio_X509(memory.get(), certificate_.get()));
        char* data = nullptr;
        const long size = BIO_get_mem_data(memory.get(), &data);
        std::string_view left(data, static_cast<std::size_t>(size));
        const detail::descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        while (file && !left.empty()) {
            const ssize_t n = ::write(file.get(), left.data(), left.size());
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            left.remove_prefix(static_cast<std::size_t>(n));
        }
        if (!file || !left.empty())
            throw backend_error("joblot: " + path + " cannot be written: " + std::strerror(errno));
    }

private:
    template <auto Free>
    struct freed_by {
        template <class T>
        void operator()(T* p) const noexcept {
            Free(p);
        }
    };
    using key = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;

    static void require(bool right) {
        if (right) return;
        char text[256] = "";
        ERR_error_string_n(ERR_get_error(), text, sizeof text);
        throw backend_error(std::string("joblot: OpenSSL cannot make a certificate: ") + text);
    }
    static key make_key() {
        const std::unique_ptr<EVP_PKEY_CTX, freed_by<EVP_PKEY_CTX_free>> context(
            EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr));
        EVP_PKEY* made = nullptr;
        require(context && EVP_PKEY_keygen_init(context.get()) > 0 &&
                EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context.get(), NID_X9_62_prime256v1) > 0 &&
                EVP_PKEY_keygen(context.get(), &made) > 0);
        return key(made);
    }
    void extend(int what, const char* value) {
        X509V3_CTX context{};
        X509V3_set_ctx(&context, certificate_.get(), certificate_.get(), nullptr, nullptr, 0);
        const std::unique_ptr<X509_EXTENSION, freed_by<X509_EXTENSION_free>> extension(
            X509V3_EXT_conf_nid(nullptr, &context, what, value));
        require(extension && X509_add_ext(certificate_.get(), extension.get(), -1) == 1);
    }

    key key_;
    std::unique_ptr<X509, freed_by<X509_free>> certificate_;
};

#else

inline constexpr bool has_tls = false;

class own_certificate {
public:
    own_certificate() {
        throw backend_error("joblot: a local Dask cluster with TLS needs OpenSSL, which this program was built without "
                            "(CMake's target joblot::dask uses it where it is installed; else define JOBLOT_DASK_TLS "
                            "and link ssl and crypto)");
    }
    void write(const std::string&) const {}
};

#endif

} // namespace JOBLOT_DASK_TLS_KIND
} // namespace joblot::dask::engine

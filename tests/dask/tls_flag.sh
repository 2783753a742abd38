#!/usr/bin/env bash
# Files that include the engine of clusters agree on JOBLOT_DASK_TLS, or are not linked, and the linker names the flag.
# What other files include does not know the flag.
#
#   tls_flag.sh COMPILER INCLUDE_DIR
set -euo pipefail
compiler=$1 include=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
with=-DJOBLOT_DASK_TLS=1
run() { "$compiler" -std=c++20 -O0 -I"$include" -pthread "$@"; }
fail() { echo "$*"; exit 1; }

echo '#include <joblot/dask.hpp>' >user.cpp
run -E user.cpp -o without.ii
run -E $with user.cpp -o with.ii
cmp without.ii with.ii || fail "joblot/dask.hpp depends on JOBLOT_DASK_TLS"

# The part of the engine that knows the flag, as the whole takes a compiler long.
echo '#include <joblot/dask/engine.hpp>' >engine.cpp
run -M engine.cpp >headers
grep -q joblot/dask/net/tls.hpp headers || fail "joblot/dask/engine.hpp does not include joblot/dask/net/tls.hpp"

echo '#include <openssl/ssl.h>' | run -E -x c++ - >openssl.ii 2>&1 || { echo "skipped: there is no OpenSSL"; exit 77; }
echo '#include <joblot/dask/net/tls.hpp>' >part.cpp
echo 'int main() {}' >main.cpp
run -c main.cpp
run -c part.cpp -o without.o
run $with -c part.cpp -o with.o
cp without.o without_too.o
cp with.o with_too.o
run main.o without.o without_too.o -o program
run main.o with.o with_too.o -lssl -lcrypto -o program
if run main.o with.o without.o -lssl -lcrypto -o program 2>said; then fail "files with the flag and without it are linked"; fi
grep differ_in_JOBLOT_DASK_TLS said

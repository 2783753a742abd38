#!/usr/bin/env bash
# Makes a Python environment for each version of Dask that joblot is tested with: build/dask-VERSION. One release of each
# form of Dask's wire; the newest one has a dashboard, joblib for the benchmarks, and scikit-learn for an example.
#
#   scripts/dask_environments.sh [VERSION...]      all of them by default; those that are there already stay
set -euo pipefail
cd "$(dirname "$0")/.."

newest=2026.8.0
versions=("$@")
[ $# -gt 0 ] || versions=(2022.12.1 2024.5.0 2025.2.0 "$newest")

# environment VERSION: makes it, where it is not there as it should be.
environment() {
    local version=$1 folder=build/dask-$1 packages
    packages=("dask[dataframe]==$version" "distributed==$version" 'setuptools<80' 'cryptography')
    case $version in
    2022.*) packages+=('numpy<2' 'pandas<2') ;; # it knows no newer ones
    *) packages+=('numpy<2.3' 'pandas<3') ;;
    esac
    [ "$version" != "$newest" ] || packages+=('bokeh>=3.1' 'joblib>=1.4,<2' 'scikit-learn>=1.5,<2')
    if [ "$(cat "$folder/complete" 2>/dev/null)" = "${packages[*]}" ]; then return; fi
    python3 -m venv --clear "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" &&
        "$folder/bin/python" -c 'import distributed; print("distributed", distributed.__version__)' &&
        echo "${packages[*]}" >"$folder/complete"
}

# All at once: they wait for the network, and for each other's disk.
makers=()
for version in "${versions[@]}"; do
    environment "$version" &
    makers+=($!)
done
status=0
for maker in "${makers[@]}"; do wait "$maker" || status=1; done
exit $status

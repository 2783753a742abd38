#!/usr/bin/env bash
# Installs Debian 12 packages by name, only those that are missing, and only with the
# help of bookworm-backports where a package asks for it (NAME/backports).
#
#   scripts/debian_packages.sh g++ cmake catch2/backports
#
# Run as root, or with sudo on the machine. The backports entry is written from the
# machine's own Debian entry, so that a mirror set up there is used here too. Nothing is ever removed: where a package
# excludes one that is there, this fails.
set -euo pipefail

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }

# catch2 alone may be there already in the release's own, older version.
satisfied() {
    local name=${1%/backports}
    installed "$name" || return 1
    [ "$name" = "$1" ] || dpkg-query -W -f '${Version}' "$name" | grep -q 'bpo12'
}

# Prints the Debian archive's address as this machine's apt knows it.
archive() {
    apt-get indextargets --format '$(SITE) $(CODENAME) $(ORIGIN)' 2>/dev/null |
        awk '$2 == "bookworm" && $3 == "Debian" { print $1; exit }'
}

# The first deb822 stanza (or one-line entry) of the machine that serves plain bookworm, re-aimed at backports.
write_backports_entry() {
    local target=/etc/apt/sources.list.d/joblot-backports.sources
    apt-get indextargets --format '$(CODENAME)' 2>/dev/null | grep -qx 'bookworm-backports' && return
    local uri signed
    uri=$(archive)
    [ -n "$uri" ] || { echo "debian_packages.sh: no Debian 12 (bookworm) entry in this machine's apt sources" >&2; exit 1; }
    signed=$(grep -rhoE 'Signed-By: *\S+' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -m1 debian || true)
    printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\n%s\n' "$uri" \
        "${signed:-Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg}" | as_root tee "$target" >/dev/null
    as_root apt-get update -qq
}

missing=() backports=()
for package in "$@"; do
    satisfied "$package" && continue
    if [ "${package%/backports}" != "$package" ]; then backports+=("${package%/backports}"); else missing+=("$package"); fi
done
if [ $((${#missing[@]} + ${#backports[@]})) = 0 ]; then
    echo "all ${#} Debian packages are installed"
    exit 0
fi

echo "installing ${missing[*]} ${backports[*]}"
export DEBIAN_FRONTEND=noninteractive
as_root apt-get update -qq
if [ ${#missing[@]} -gt 0 ]; then
    as_root apt-get install -y -qq --no-remove --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ ${#backports[@]} -gt 0 ]; then
    write_backports_entry
    as_root apt-get install -y -qq --no-remove --no-install-recommends -t bookworm-backports "${backports[@]}" >/dev/null
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what building and testing needs and is missing (Debian 12). Does nothing when all is there; then
# it needs neither rights nor a network.
set -euo pipefail

packages=(gcc g++ cmake ninja-build pkg-config python3 protobuf-c-compiler
    libprotobuf-c-dev libnng-dev librocksdb-dev libsodium-dev libcmocka-dev iproute2
    python3-pytest python3-venv)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
# A compiler, CMake, ... that did not come as a package serves as well.
still=()
for package in "${missing[@]}"; do
    case $package in
    gcc | g++ | cmake | python3 | pkg-config) command -v "$package" >/dev/null && continue ;;
    iproute2) command -v ip >/dev/null && continue ;;
    ninja-build) command -v ninja >/dev/null && continue ;;
    protobuf-c-compiler) command -v protoc-c >/dev/null && continue ;;
    esac
    still+=("$package")
done
[ ${#still[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "missing: ${still[*]}; install them as root: apt-get install ${still[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing: ${still[*]}"
if ! { "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${still[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi

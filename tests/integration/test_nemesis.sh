#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A short run of tests/nemesis.sh with a fixed seed: three stores, about 35 s.
set -uo pipefail

if [ -n "${MOM_SANITIZE:-}" ]; then
    echo "the slow disk is loaded into stores, and a sanitizer wants to be first"
    exit 77
fi
exec bash "$(dirname "$0")/../nemesis.sh" --seconds 28 --seed 161 --stores 3

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds everything, runs all tests. Every part is run even if one before it
# failed; what failed is said at the end with the command that repeats it. The last line is
# `N passed, N failed`; the exit status is 1 if anything failed.
#
#   tests/run.sh [quick]      quick: without simulation and sanitizers
#
# Environment: MOM_BUILD_DIR (build), MOM_JOBS (the number of processors), MOM_SEEDS (4000 simulated runs).
set -uo pipefail

cd "$(dirname "$0")/.."
build=${MOM_BUILD_DIR:-build}
jobs=${MOM_JOBS:-$(nproc)}
seeds=${MOM_SEEDS:-4000}
mode=${1:-all}

passed=0
failed=0
complaints=()
declare -A spent=([build]=0 [tests]=0 [simulation]=0 [sanitizers]=0)

# fail WHAT COMMAND...: counts one failure.
fail() {
    local what=$1
    shift
    failed=$((failed + 1))
    complaints+=("$what; repeat: $*")
    echo "FAILED: $what"
}

# timed PART COMMAND...: runs it and adds its time to a part.
timed() {
    local part=$1 start=$SECONDS status=0
    shift
    "$@" || status=$?
    spent[$part]=$((spent[$part] + SECONDS - start))
    return $status
}

# configure_and_build DIR CMAKE-OPTIONS...: quiet unless it fails. Goes on past errors, so that what does
# build can be tested.
configure_and_build() {
    local dir=$1 log
    shift
    mkdir -p "$dir"
    log=$dir/build.log
    if ! cmake -S . -B "$dir" -G Ninja "$@" >"$log" 2>&1; then
        tail -n 30 "$log"
        return 1
    fi
    if ! cmake --build "$dir" -j "$jobs" -- -k 0 >>"$log" 2>&1; then
        grep -E 'error|FAILED|undefined reference' "$log" | head -n 40
        return 1
    fi
}

# run_ctest DIR LABELS: runs the tests with one of the labels and adds up the summary. ctest's own words:
# `97% tests passed, 1 tests failed out of 34`.
run_ctest() {
    local dir=$1 labels=$2 out summary now_failed all
    out=$dir/ctest-${labels//[^a-z]/-}.log
    ctest --test-dir "$dir" -L "^($labels)\$" -j "$jobs" --output-on-failure --no-tests=error \
        >"$out" 2>&1
    summary=$(grep -E 'tests passed, [0-9]+ tests failed out of' "$out" | tail -n 1)
    if [ -z "$summary" ]; then
        tail -n 20 "$out"
        fail "tests of $dir ($labels) did not run" ctest --test-dir "$dir" -L "'^($labels)\$'"
        return
    fi
    now_failed=$(sed -E 's/.*passed, ([0-9]+) tests failed.*/\1/' <<<"$summary")
    all=$(sed -E 's/.*out of ([0-9]+).*/\1/' <<<"$summary")
    passed=$((passed + all - now_failed))
    failed=$((failed + now_failed))
    echo "$dir, $labels: $((all - now_failed)) passed, $now_failed failed"
    if [ "$now_failed" -gt 0 ]; then
        cat "$out"
        local name
        while IFS= read -r name; do
            complaints+=("$name in $dir; repeat: ctest --test-dir $dir -R '^$name\$' --output-on-failure")
        done < <(grep -vE '\((Skipped|Not Run|Disabled)\)$' "$out" |
            sed -n 's/^[[:space:]]*[0-9]* - \([^ ]*\) (.*/\1/p')
    fi
}

part_build() {
    bash tests/install-deps.sh ||
        fail "installing what is missing" bash tests/install-deps.sh
    configure_and_build "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMOM_WERROR=ON ||
        fail "the build" cmake --build "$build"
}

part_tests() {
    run_ctest "$build" lint
    run_ctest "$build" unit
    run_ctest "$build" 'contract|integration'
}

# Each commit tries other seeds, and the same ones again when it is run again.
part_simulation() {
    local sim=$build/bin/mom-sim commit first
    if [ ! -x "$sim" ]; then
        fail "the simulator is not there" cmake --build "$build" --target mom-sim
        return
    fi
    commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0)
    first=$((16#${commit:0:7} * 10000))
    if "$sim" --seeds "$first" "$seeds" >"$build/sim.log" 2>&1; then
        passed=$((passed + seeds))
        tail -n 1 "$build/sim.log"
        echo "simulation: $seeds runs from seed $first: passed"
    else
        tail -n 40 "$build/sim.log"
        fail "simulation from seed $first" "$sim --seeds $first $seeds"
    fi
    part_mutants
}

# Deliberate bugs that the simulator must find.
part_mutants() {
    local found missed
    if ! cmake --build "$build" --target mom-sim-mutants >"$build/mutants.log" 2>&1; then
        tail -n 20 "$build/mutants.log"
        fail "the build of the mutants" cmake --build "$build" --target mom-sim-mutants
        return
    fi
    MOM_JOBS=$jobs bash tests/mutants.sh "$build/bin" >"$build/mutants.log" 2>&1
    cat "$build/mutants.log"
    read -r found missed < <(sed -nE 's/^([0-9]+) mutants found, ([0-9]+) missed$/\1 \2/p' "$build/mutants.log")
    passed=$((passed + ${found:-0}))
    if [ "${missed:-1}" -gt 0 ]; then
        failed=$((failed + ${missed:-1} - 1))
        fail "${missed:-all} mutants are not found" bash tests/mutants.sh "$build/bin"
    fi
}

part_sanitizers() {
    configure_and_build "$build-asan" -DCMAKE_BUILD_TYPE=Debug \
        -DMOM_SANITIZE=address,undefined ||
        fail "the build with ASan and UBSan" cmake --build "$build-asan"
    run_ctest "$build-asan" 'unit|contract|integration'
    configure_and_build "$build-tsan" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DMOM_SANITIZE=thread ||
        fail "the build with TSan" cmake --build "$build-tsan"
    run_ctest "$build-tsan" integration
}

timed build part_build
timed tests part_tests
if [ "$mode" != quick ]; then
    timed simulation part_simulation
    timed sanitizers part_sanitizers
fi

total=$((SECONDS > 0 ? SECONDS : 1))
echo
for part in build tests simulation sanitizers; do
    printf 'time: %-12s %5d s %3d %%\n' "$part" "${spent[$part]}" $((100 * spent[$part] / total))
done
for complaint in "${complaints[@]}"; do
    echo "failed: $complaint"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

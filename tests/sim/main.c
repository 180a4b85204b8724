/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom-sim: runs seeds. `--seed N` replays one with its story, `--seeds A-B` (or `--seeds
 * FIRST COUNT`) runs a range and prints a summary; a violation, or a total that stayed
 * zero, is a failure.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "core/mutant.h"
#include "world.h"

struct run {
    uint64_t first;
    uint64_t count;
    bool is_single;
    bool is_verbose;
    bool tells_frames;
    bool checks_hash;
    bool stops_at_first; /* one job; the first violation ends it and is told in a line */
    bool prints_hashes;  /* one job; nothing else is printed */
    int jobs;
};

/* Of the processor's time; a seed that takes longer hangs. A deliberate bug may well do
 * that. */
enum { SEED_LIMIT_S = 120, MUTANT_LIMIT_S = 15 };

static struct sim_world world;
static bool is_terse; /* no stories */

static void print_story(void) {
    if (is_terse) {
        return;
    }
    uint64_t from =
        world.story_count > SIM_STORY_LINES ? world.story_count - SIM_STORY_LINES : 0;
    for (uint64_t i = from; i < world.story_count; i++) {
        puts(world.story[i % SIM_STORY_LINES]);
    }
}

static void panicked(const char *file, int line, const char *what, void *user) {
    (void)user;
    print_story();
    printf("VIOLATION seed %llu: assertion `%s` failed at %s:%d\n",
           (unsigned long long)world.options.seed, what, file, line);
    fflush(stdout);
    _exit(3);
}

static bool run_seed(const struct run *run, uint64_t seed, struct sim_totals *totals) {
    struct sim_options options;
    sim_options_draw(&options, seed);
    if (run->is_verbose) {
        sim_options_print(&options);
    }
    bool ok = sim_world_run(&world, &options,
                            !run->is_verbose    ? SIM_STORY_KEPT
                            : run->tells_frames ? SIM_STORY_WITH_FRAMES
                                                : SIM_STORY_TOLD);
    if (!ok) {
        if (!run->is_verbose) {
            if (!is_terse) {
                sim_options_print(&options);
            }
            print_story();
        }
        printf("VIOLATION seed %llu: %s\n", (unsigned long long)seed, world.failure);
        printf("replay: mom-sim --seed %llu\n", (unsigned long long)seed);
    }
    sim_world_free(&world);
    *totals = world.totals;
    if (run->is_verbose) {
        printf("seed %llu %s, trace hash %016llx\n", (unsigned long long)seed,
               ok ? "ok" : "FAILED", (unsigned long long)world.trace_hash);
    }
    return ok;
}

static bool is_deterministic(const struct run *run, uint64_t seed) {
    struct sim_totals totals;
    bool ok = run_seed(run, seed, &totals);
    uint64_t hash = world.trace_hash;
    ok = run_seed(run, seed, &totals) && ok;
    if (hash != world.trace_hash) {
        printf("VIOLATION seed %llu: two runs differ\n", (unsigned long long)seed);
        return false;
    }
    return ok;
}

/* --- totals
 * -------------------------------------------------------------------------------- */

/* clang-format off */
#define TOTALS_MAP(X) \
    X(elections) \
    X(leader_changes) \
    X(truncations) \
    X(snapshots) \
    X(writes_lost) \
    X(redeliveries) \
    X(config_changes) \
    X(crashes) \
    X(partitions) \
    X(closes) \
    X(pauses) \
    X(commands) \
    X(acknowledged) \
    X(delivered) \
    X(settled) \
    X(expired) \
    X(checkpoints) \
    X(deleted) \
    X(frames) \
    X(flipped) \
    X(plans) \
    X(hunts) \
    X(disk_failures) \
    X(shortages) \
    X(full_lanes) \
    X(stragglers) \
    X(damages) \
    X(repairs) \
    X(faults)
/* clang-format on */

static void add(struct sim_totals *sum, const struct sim_totals *one) {
    sum->virtual_us += one->virtual_us;
    sum->hollowed += one->hollowed;
#define ADD(name) sum->name += one->name;
    TOTALS_MAP(ADD)
#undef ADD
}

/* A total that stays zero over a range means that the simulator no longer does what it
 * says. */
static int print_totals(const struct sim_totals *sum, bool is_range) {
    int zeros = 0;
#define PRINT(name)                                                                      \
    printf("  %-16s %llu%s\n", #name, (unsigned long long)sum->name,                     \
           sum->name == 0 && is_range ? "   ZERO: nothing of this was simulated" : "");  \
    zeros += sum->name == 0;
    TOTALS_MAP(PRINT)
#undef PRINT
    printf("  %-16s %.1f h\n", "virtual time", (double)sum->virtual_us / 3.6e9);
    return is_range ? zeros : 0;
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static uint64_t median(uint64_t *values, uint64_t count) {
    qsort(values, count, sizeof *values, compare_u64);
    return count == 0 ? 0 : values[count / 2];
}

/* --- ranges
 * --------------------------------------------------------------------------------- */

struct report {
    struct sim_totals totals;
    uint64_t seed;
    int32_t ok;
};

static void limit_time(int seconds) {
    struct itimerval limit = {.it_value = {.tv_sec = seconds}};
    (void)setitimer(ITIMER_PROF, &limit, NULL); /* SIGPROF ends the process */
}

/* One job runs every jobs-th seed in a process of its own, so that an assertion ends only
 * that seed. */
static void run_job(const struct run *run, int job, int out) {
    for (uint64_t i = (uint64_t)job; i < run->count; i += (uint64_t)run->jobs) {
        struct report report = {.seed = run->first + i};
        limit_time(run->stops_at_first ? MUTANT_LIMIT_S : SEED_LIMIT_S);
        bool twice = run->checks_hash && i % 64 == 0;
        report.ok = twice ? is_deterministic(run, report.seed)
                          : run_seed(run, report.seed, &report.totals);
        if (twice) {
            report.totals = world.totals;
        }
        fflush(stdout);
        if (write(out, &report, sizeof report) != sizeof report) {
            _exit(4);
        }
        if (run->stops_at_first && !report.ok) {
            break;
        }
    }
    _exit(0);
}

static uint64_t collect(const struct run *run, const int *in, struct sim_totals *sum,
                        uint64_t *failed) {
    uint64_t *times = calloc(run->count, sizeof *times);
    uint64_t *commands = calloc(run->count, sizeof *commands);
    uint64_t *faults = calloc(run->count, sizeof *faults);
    uint64_t done = 0;
    if (times == NULL || commands == NULL || faults == NULL) {
        exit(1);
    }
    struct pollfd ends[64];
    int open_ends = run->jobs;
    for (int job = 0; job < run->jobs; job++) {
        ends[job] = (struct pollfd){.fd = in[job], .events = POLLIN};
    }
    while (open_ends > 0 && poll(ends, (nfds_t)run->jobs, -1) > 0) {
        for (int job = 0; job < run->jobs; job++) {
            struct report report;
            if (ends[job].revents == 0) {
                continue;
            }
            if (read(ends[job].fd, &report, sizeof report) != sizeof report) {
                ends[job].fd = -1;
                open_ends--;
                continue;
            }
            times[done] = report.totals.virtual_us;
            commands[done] = report.totals.commands;
            faults[done] = report.totals.faults;
            done++;
            *failed += report.ok ? 0 : 1;
            add(sum, &report.totals);
        }
    }
    if (!run->stops_at_first) {
        printf("median seed: %.1f s of virtual time, %llu client commands, %llu faults\n",
               (double)median(times, done) / 1e6,
               (unsigned long long)median(commands, done),
               (unsigned long long)median(faults, done));
    }
    free(times);
    free(commands);
    free(faults);
    return done;
}

static int run_range(struct run *run) {
    int in[64];
    pid_t children[64];
    for (int job = 0; job < run->jobs; job++) {
        int ends[2];
        if (pipe(ends) != 0) {
            return 1;
        }
        fflush(stdout);
        children[job] = fork();
        if (children[job] == 0) {
            close(ends[0]);
            run_job(run, job, ends[1]);
        }
        close(ends[1]);
        in[job] = ends[0];
    }
    struct sim_totals sum = {0};
    uint64_t failed = 0;
    uint64_t done = collect(run, in, &sum, &failed);
    uint64_t crashes = 0;
    for (int job = 0; job < run->jobs; job++) {
        int status = 0;
        waitpid(children[job], &status, 0);
        close(in[job]);
        if (status != 0) {
            crashes++;
            printf("a job ended with status %d: the seed after its last one crashed\n",
                   status);
        }
    }
    if (run->stops_at_first) {
        bool is_found = failed + crashes > 0;
        printf("%s after %llu seeds\n", is_found ? "found" : "not found",
               (unsigned long long)(done + crashes));
        return is_found ? 1 : 0;
    }
    int zeros = print_totals(&sum, run->count >= 1000);
    failed += run->count - done;
    printf("%llu passed, %llu failed\n", (unsigned long long)(run->count - failed),
           (unsigned long long)failed);
    return failed == 0 && zeros == 0 ? 0 : 1;
}

/* A line for each seed, for a comparison with another build. */
static int print_hashes(const struct run *run) {
    bool ok = true;
    for (uint64_t i = 0; i < run->count; i++) {
        struct sim_totals totals;
        ok = run_seed(run, run->first + i, &totals) && ok;
        printf("seed %llu %016llx\n", (unsigned long long)(run->first + i),
               (unsigned long long)world.trace_hash);
    }
    return ok ? 0 : 1;
}

static int usage(void) {
    puts(
        "mom-sim --seed N [--quiet|--frames]   replays one seed and tells its story\n"
        "mom-sim --seeds A-B | FIRST COUNT     runs a range [--jobs N]\n"
        "        --hashes                      prints the trace hash of each\n"
        "        --stop-at-first               ends with the first violation, in one "
        "line\n"
        "mom-sim --mutants                     lists the deliberate bugs (mutant build)\n"
        "        --mutant N                    switches one on");
    return 2;
}

static int set_mutant(const char *text) {
#ifdef MOMI_MUTANTS
    momi_mutant = (int)strtol(text, NULL, 10);
    for (int i = 1; i < MOMI_MUTANTS_END; i++) {
        if (strcmp(text, momi_mutant_name(i)) == 0) {
            momi_mutant = i;
        }
    }
    if (momi_mutant <= 0 || momi_mutant >= MOMI_MUTANTS_END) {
        printf("there is no mutant %s: --mutants lists them\n", text);
        return 2;
    }
    return 0;
#else
    (void)text;
    puts("this build has no mutants: use mom-sim-mutants");
    return 2;
#endif
}

static int list_mutants(void) {
#ifdef MOMI_MUTANTS
    for (int i = 1; i < MOMI_MUTANTS_END; i++) {
        printf("%d %s %s\n", i, momi_mutant_name(i), momi_mutant_what(i));
    }
    return 0;
#else
    puts("this build has no mutants: use mom-sim-mutants");
    return 2;
#endif
}

static bool parse_range(struct run *run, const char *text, const char *next) {
    char *end = NULL;
    run->first = strtoull(text, &end, 10);
    if (*end == '-') {
        run->count = strtoull(end + 1, NULL, 10) - run->first + 1;
        return false;
    }
    run->count = next == NULL ? 1 : strtoull(next, NULL, 10);
    return true;
}

int main(int count, char **arguments) {
    struct run run = {.jobs = 2, .checks_hash = true};
    bool has_work = false;
    for (int i = 1; i < count; i++) {
        const char *next = i + 1 < count ? arguments[i + 1] : NULL;
        if (strcmp(arguments[i], "--seed") == 0 && next != NULL) {
            run.first = strtoull(next, NULL, 10);
            run.is_single = true;
            run.is_verbose = true;
            has_work = true;
            i++;
        } else if (strcmp(arguments[i], "--seeds") == 0 && next != NULL) {
            i += parse_range(&run, next, i + 2 < count ? arguments[i + 2] : NULL) ? 2 : 1;
            has_work = true;
        } else if (strcmp(arguments[i], "--jobs") == 0 && next != NULL) {
            long jobs = strtol(next, NULL, 10);
            run.jobs = jobs < 1 ? 1 : jobs > 64 ? 64 : (int)jobs;
            i++;
        } else if (strcmp(arguments[i], "--frames") == 0) {
            run.tells_frames = true;
        } else if (strcmp(arguments[i], "--stop-at-first") == 0) {
            run.stops_at_first = true;
        } else if (strcmp(arguments[i], "--hashes") == 0) {
            run.prints_hashes = true;
        } else if (strcmp(arguments[i], "--quiet") == 0) {
            run.is_verbose = false;
        } else if (strcmp(arguments[i], "--mutants") == 0) {
            return list_mutants();
        } else if (strcmp(arguments[i], "--mutant") == 0 && next != NULL) {
            if (set_mutant(next) != 0) {
                return 2;
            }
            i++;
        } else {
            return usage();
        }
    }
    if (!has_work) {
        return usage();
    }
    if (run.stops_at_first) {
        run.jobs = 1;
        run.checks_hash = false;
        is_terse = true;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    momi_panic_set_hook(panicked, NULL);
    if (run.prints_hashes) {
        return print_hashes(&run);
    }
    if (run.is_single) {
        struct sim_totals totals;
        bool ok = run_seed(&run, run.first, &totals);
        (void)print_totals(&totals, false);
        return ok ? 0 : 1;
    }
    return run_range(&run);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom-damage: many damaged directories, each judged in a process of its own.
 *
 *   mom-damage [--store N] [--mesh N] [--all N] [--io N] [--seed S] [--jobs N] [--scratch
 * DIR] mom-damage --seed S --case N --store 1 (or --mesh 1, --all 1)     one case, again
 *
 * `store` opens one damaged directory alone; `mesh` a mesh with one damaged copy; `all`
 * one with every copy damaged in the same place; `io` lets calls on one disk fail. Cases
 * go through all places and kinds in turn; the seed and the number of a case decide the
 * rest.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "damage/damage.h"

#ifdef MOM_COVERAGE
void __gcov_dump(void);
#endif

enum { IMAGES = 4, JOBS_MAX = 16, CASE_SECONDS = 200, STORE_BLOCK = 20 };

enum level { LEVEL_STORE, LEVEL_MESH, LEVEL_ALL, LEVEL_IO, LEVELS_COUNT };
static const char *const level_names[LEVELS_COUNT] = {"store", "mesh", "all", "io"};
static const char *const outcome_names[OUTCOMES_COUNT] = {
    "harmless", "repaired", "stopped", "aside", "refused", "reported", "VIOLATION"};

/* What a case tells its parent. */
struct told {
    enum damage_outcome outcome;
    enum damage_place place;
    enum damage_kind kind;
    char harm[DAMAGE_TEXT];
    char why[DAMAGE_TEXT];
};

struct job {
    pid_t pid; /* 0: free */
    int fd;
    enum level level;
    uint64_t number; /* of the first case */
    uint64_t count;  /* cases in this process, one after the other */
    char path[DAMAGE_PATH];
};

static struct {
    uint64_t seed;
    uint64_t counts[LEVELS_COUNT];
    uint64_t only; /* 0: all */
    size_t jobs;
    char scratch[DAMAGE_PATH];
    struct damage_ledger ledgers[IMAGES];
    uint64_t totals[LEVELS_COUNT][PLACES_COUNT][KINDS_COUNT][OUTCOMES_COUNT];
    uint64_t done;
    uint64_t violations;
    bool keeps; /* directories of processes that died */
} run = {.seed = 1, .jobs = 1};

static void image_path(char out[DAMAGE_PATH], size_t image) {
    (void)snprintf(out, DAMAGE_PATH, "%.400s/i%zu", run.scratch, image);
}

/* --- one case, in its own process ----------------------------------------------------
 */

static void copy_nodes(const char *from, const char *to) {
    (void)mkdir(to, 0700);
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        char source[DAMAGE_PATH];
        char target[DAMAGE_PATH];
        damage_path(source, from, damage_names[i]);
        damage_path(target, to, damage_names[i]);
        damage_copy(source, target);
    }
}

/* Damages one node, or all of them, in the same place. */
static bool harm(const struct job *job, const char *image, size_t victim,
                 struct momi_rng *rng, struct told *told) {
    bool any = false;
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        if (victim < DAMAGE_NODES && i != victim) {
            continue;
        }
        char dir[DAMAGE_PATH];
        char old[DAMAGE_PATH];
        char text[DAMAGE_PATH];
        (void)snprintf(text, sizeof text, "%.250s/old", image);
        damage_path(dir, job->path, damage_names[i]);
        damage_path(old, text, damage_names[i]);
        any = damage_do(dir, old, told->place, told->kind, rng, told->harm) || any;
    }
    return any;
}

static void draw(uint64_t number, struct told *told) {
    *told =
        (struct told){.outcome = OUTCOME_HARMLESS,
                      .place = (enum damage_place)(number % PLACES_COUNT),
                      .kind = (enum damage_kind)(number / PLACES_COUNT % KINDS_COUNT)};
}

/* A copy of one node of one image; its damaged copies, one after the other. */
static void play_store(const struct job *job, int out) {
    struct momi_rng rng;
    momi_rng_seed(&rng, run.seed * 1000003U + job->number / STORE_BLOCK);
    size_t victim = (size_t)momi_rng_between(&rng, 0, DAMAGE_NODES - 1);
    char image[DAMAGE_PATH];
    char from[DAMAGE_PATH];
    char sane[DAMAGE_PATH];
    char dir[DAMAGE_PATH];
    image_path(image, (size_t)momi_rng_between(&rng, 0, IMAGES - 1));
    (void)mkdir(job->path, 0700);
    damage_path(from, image, damage_names[victim]);
    damage_path(sane, job->path, "sane");
    damage_path(dir, job->path, damage_names[victim]);
    damage_copy(from, sane);
    for (uint64_t number = job->number; number < job->number + job->count; number++) {
        struct told told;
        draw(number, &told);
        momi_rng_seed(&rng, run.seed * 1000003U + number * 8);
        damage_copy(from, dir);
        if (harm(job, image, victim, &rng, &told)) {
            told.outcome = damage_store_case(sane, dir, told.why);
        }
        (void)!write(out, &told, sizeof told);
        if (run.only == 0) {
            damage_remove(dir);
        }
    }
}

static void play_mesh(const struct job *job, int out) {
    struct momi_rng rng;
    struct told told;
    draw(job->number, &told);
    momi_rng_seed(&rng, run.seed * 1000003U + job->number * 8 + (uint64_t)job->level);
    size_t at = (size_t)momi_rng_between(&rng, 0, IMAGES - 1);
    size_t victim = (size_t)momi_rng_between(&rng, 0, DAMAGE_NODES - 1);
    size_t target = job->level == LEVEL_ALL ? DAMAGE_NODES : victim;
    char image[DAMAGE_PATH];
    image_path(image, at);
    copy_nodes(image, job->path);
    if (job->level == LEVEL_IO) {
        told.outcome = damage_io_case(job->path, victim, &run.ledgers[at], &rng,
                                      told.harm, told.why);
    } else if (harm(job, image, target, &rng, &told)) {
        told.outcome = damage_mesh_case(job->path, target, &run.ledgers[at], told.why);
    }
    (void)!write(out, &told, sizeof told);
}

/* --- many --------------------------------------------------------------------------- */

static void start(struct job *job, enum level level, uint64_t number, uint64_t count) {
    int ends[2];
    (void)snprintf(job->path, sizeof job->path, "%.400s/case-%c%llu", run.scratch,
                   level_names[level][0], (unsigned long long)number);
    job->level = level;
    job->number = number;
    job->count = count;
    if (pipe(ends) != 0) {
        perror("pipe");
        exit(2);
    }
    (void)fflush(NULL);
    job->pid = fork();
    if (job->pid == 0) {
        (void)alarm(CASE_SECONDS);
        if (level == LEVEL_STORE) {
            play_store(job, ends[1]);
        } else {
            play_mesh(job, ends[1]);
        }
#ifdef MOM_COVERAGE
        __gcov_dump(); /* what ran here counts */
#endif
        _exit(0);
    }
    close(ends[1]);
    job->fd = ends[0];
}

static void count(const struct job *job, uint64_t number, const struct told *told) {
    run.totals[job->level][told->place][told->kind][told->outcome]++;
    run.done++;
    bool is_violation = told->outcome == OUTCOME_VIOLATION;
    run.violations += is_violation ? 1 : 0;
    if (is_violation || run.only != 0) {
        printf("%s: %s %s %s: %s\n  %s\n  again: --seed %llu --case %llu --%s 1\n",
               outcome_names[told->outcome], level_names[job->level],
               damage_place_name(told->place), damage_kind_name(told->kind), told->why,
               told->harm, (unsigned long long)run.seed, (unsigned long long)number,
               level_names[job->level]);
    }
    if (run.done % 1000 == 0) {
        printf("%llu cases\n", (unsigned long long)run.done);
    }
    (void)fflush(stdout);
}

/* Of a process that ended too early the next case is to blame; the others go on. */
static void finish(struct job *job, int status) {
    struct told told;
    uint64_t done = 0;
    while (done < job->count &&
           read(job->fd, &told, sizeof told) == (ssize_t)sizeof told) {
        count(job, job->number + done++, &told);
    }
    close(job->fd);
    job->pid = 0;
    if (done == job->count) {
        if (run.only == 0) {
            damage_remove(job->path);
        }
        return;
    }
    printf("what it left is in %s\n", job->path);
    run.keeps = true;
    draw(job->number + done, &told);
    told.outcome = OUTCOME_VIOLATION;
    (void)snprintf(told.why, sizeof told.why, "the process ended with signal %d",
                   WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status));
    count(job, job->number + done, &told);
    if (done + 1 < job->count) {
        start(job, job->level, job->number + done + 1, job->count - done - 1);
    }
}

static void wait_one(struct job *jobs) {
    int status = 0;
    pid_t pid = wait(&status);
    for (size_t i = 0; i < run.jobs; i++) {
        if (jobs[i].pid == pid && pid > 0) {
            finish(&jobs[i], status);
        }
    }
}

static struct job *free_job(struct job *jobs) {
    for (;;) {
        for (size_t i = 0; i < run.jobs; i++) {
            if (jobs[i].pid == 0) {
                return &jobs[i];
            }
        }
        wait_one(jobs);
    }
}

static void run_cases(void) {
    static struct job jobs[JOBS_MAX];
    for (int level = 0; level < LEVELS_COUNT; level++) {
        uint64_t step = level == LEVEL_STORE && run.only == 0 ? STORE_BLOCK : 1;
        for (uint64_t i = 0; i < run.counts[level]; i += step) {
            uint64_t left = run.counts[level] - i;
            start(free_job(jobs), (enum level)level, run.only != 0 ? run.only : i,
                  left < step ? left : step);
        }
    }
    for (size_t i = 0; i < run.jobs; i++) {
        while (jobs[i].pid != 0) {
            wait_one(jobs);
        }
    }
}

static void print_totals(void) {
    for (int level = 0; level < LEVELS_COUNT; level++) {
        for (int place = 0; place < PLACES_COUNT && run.counts[level] > 0; place++) {
            for (int kind = 0; kind < KINDS_COUNT; kind++) {
                const uint64_t *totals = run.totals[level][place][kind];
                uint64_t sum = 0;
                for (int i = 0; i < OUTCOMES_COUNT; i++) {
                    sum += totals[i];
                }
                if (sum == 0) {
                    continue;
                }
                printf("%-6s %-12s %-9s %6llu:", level_names[level],
                       damage_place_name((enum damage_place)place),
                       damage_kind_name((enum damage_kind)kind), (unsigned long long)sum);
                for (int i = 0; i < OUTCOMES_COUNT; i++) {
                    if (totals[i] > 0) {
                        printf(" %s %llu", outcome_names[i],
                               (unsigned long long)totals[i]);
                    }
                }
                printf("\n");
            }
        }
    }
    printf("%llu cases, %llu violations\n", (unsigned long long)run.done,
           (unsigned long long)run.violations);
}

static bool make_images(void) {
    for (size_t i = 0; i < IMAGES; i++) {
        char path[DAMAGE_PATH];
        image_path(path, i);
        if (!damage_image_make(path, run.seed * IMAGES + i, &run.ledgers[i])) {
            return false;
        }
    }
    return true;
}

static bool parse(int argc, char **argv) {
    const char *scratch = "/dev/shm";
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i];
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(name, "--seed") == 0) {
            run.seed = value;
        } else if (strcmp(name, "--case") == 0) {
            run.only = value;
        } else if (strcmp(name, "--jobs") == 0 && value > 0 && value <= JOBS_MAX) {
            run.jobs = (size_t)value;
        } else if (strcmp(name, "--scratch") == 0) {
            scratch = argv[i + 1];
        } else if (strcmp(name, "--store") == 0) {
            run.counts[LEVEL_STORE] = value;
        } else if (strcmp(name, "--mesh") == 0) {
            run.counts[LEVEL_MESH] = value;
        } else if (strcmp(name, "--io") == 0) {
            run.counts[LEVEL_IO] = value;
        } else if (strcmp(name, "--all") == 0) {
            run.counts[LEVEL_ALL] = value;
        } else {
            return false;
        }
    }
    (void)snprintf(run.scratch, sizeof run.scratch, "%.200s/damage-XXXXXX", scratch);
    return argc % 2 == 1;
}

int main(int argc, char **argv) {
    if (!parse(argc, argv)) {
        fprintf(stderr,
                "usage: mom-damage [--store N] [--mesh N] [--all N] [--io N] [--seed S] "
                "[--jobs N] [--case N] [--scratch DIR]\n");
        return 2;
    }
    if (mkdtemp(run.scratch) == NULL) {
        perror(run.scratch);
        return 2;
    }
    bool ok = make_images();
    if (ok) {
        run_cases();
        print_totals();
    }
    if (run.only == 0 && !run.keeps) {
        damage_remove(run.scratch);
    } else {
        printf("kept in %s\n", run.scratch);
    }
    return ok && run.violations == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power-loss tester: records real nodes, rebuilds from prefixes of the record the
 * directories that a power cut may leave, and has the library open them.
 *
 *   mom-power [--count N] [--mesh N] [--aside N] [--seed N] [--each N]
 *             [--seconds N] [--torn-manifests 1] [--mutant NAME] [--keep DIR]
 *
 * --count directories of one node alone, --mesh cuts of a mesh of three, --aside
 * directories whose store is being set aside; --each cuts of a life. A record is a
 * chain of lives: each ends by itself or by a kill at any call, and the next begins in
 * what the kill, or a power cut at any earlier moment, has left. So recovery is cut, too.
 * With --mutant the recorder leaves out syncs: then finding a loss is the success, and
 * finding none in all of --count the failure. What is lost is kept below --keep, with the
 * log of its life; `mom-power show LOG` prints one.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "power/cut.h"
#include "power/judge.h"
#include "power/show.h"

enum {
    STILLBIRTHS = 12,
    LIVES_MAX = 4, /* of a chain */
    RECORD_SECONDS_MAX = 240,
    FAILURES_MAX = 10, /* then it ends */
    NEAR_WEIGHT = 6,   /* moments near a sync, a name, a promise are drawn more often */
    TRIES_MAX = 4,     /* for a directory that was not judged yet */
    PROGRESS_SECONDS = 30,
};

static const char *const shape_names[] = {"alone", "mesh", "aside"};

struct options {
    uint64_t count;
    uint64_t mesh;
    uint64_t aside;
    uint64_t seed;
    uint64_t each;           /* cuts of a recorded life */
    uint64_t torn_manifests; /* 1: see cut.h */
    uint64_t seconds;        /* at most, about; 0: without end */
    const char *mutant;
    const char *keep;
};

struct totals {
    uint64_t lives;
    uint64_t kills; /* of them, ended by a kill */
    uint64_t records;
    uint64_t moments;
    uint64_t cuts;        /* judged; each another directory, or other promises */
    uint64_t directories; /* of nodes: three for each cut of a mesh */
    uint64_t repeated;    /* drawn again and left out */
    uint64_t reopened;
    uint64_t failures;
    uint64_t names[CUT_NAMES_COUNT];
    uint64_t data[CUT_DATA_COUNT];
    uint64_t one_of_three;
    uint64_t stores;
    double judge_ms;
};

struct tester {
    struct options options;
    struct totals totals;
    struct momi_rng rng;
    struct judge *judge;
    char base[SCENE_PATH_BYTES];
    char root[SCENE_PATH_BYTES];    /* recorded */
    char cut[SCENE_PATH_BYTES];     /* judged */
    char next[SCENE_PATH_BYTES];    /* where the next life begins, if in a cut */
    char sockets[SCENE_PATH_BYTES]; /* of a mesh */
    char log[SCENE_PATH_BYTES];
    uint64_t *hashes; /* of what was judged; open addressing, 0 is free */
    size_t hashes_room;
    double progress_at_ms;
    double end_ms;
    uint64_t chain_seed;
    uint64_t chains;
};

/* One chain of lives. */
struct chain {
    enum scene_shape shape;
    uint64_t life;
    struct image *image;
    struct facts *facts;
    struct facts *next_facts; /* those of the directory `next` */
    bool has_next;
    const struct power_log *log; /* of this life */
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- What was judged before ---- */

/* True if it is new. */
static bool remember(struct tester *tester, uint64_t hash) {
    hash = hash == 0 ? 1 : hash;
    if (tester->totals.cuts * 2 >= tester->hashes_room) {
        size_t room = tester->hashes_room == 0 ? 1 << 14 : tester->hashes_room * 4;
        uint64_t *larger = momi_must_calloc(room, sizeof *larger);
        for (size_t i = 0; i < tester->hashes_room; i++) {
            size_t at = tester->hashes[i] % room;
            while (tester->hashes[i] != 0 && larger[at] != 0) {
                at = (at + 1) % room;
            }
            if (tester->hashes[i] != 0) {
                larger[at] = tester->hashes[i];
            }
        }
        momi_free(tester->hashes);
        tester->hashes = larger;
        tester->hashes_room = room;
    }
    size_t at = hash % tester->hashes_room;
    while (tester->hashes[at] != 0 && tester->hashes[at] != hash) {
        at = (at + 1) % tester->hashes_room;
    }
    bool is_new = tester->hashes[at] == 0;
    tester->hashes[at] = hash;
    return is_new;
}

/* ---- Recording ---- */

static void run_recorded(struct tester *tester, const struct chain *chain, uint64_t seed,
                         uint64_t dies_after) {
    char number[32];
    char recorder[SCENE_PATH_BYTES];
    char self[SCENE_PATH_BYTES - 32];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    MOMI_ASSERT(size > 0);
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    (void)snprintf(recorder, sizeof recorder, "%s/mom-power-record.so", self);
    (void)setenv("LD_PRELOAD", recorder, 1);
    (void)setenv(POWER_LOG_VARIABLE, tester->log, 1);
    (void)setenv(POWER_ROOT_VARIABLE, tester->root, 1);
    if (tester->options.mutant != NULL) {
        (void)setenv(POWER_MUTANT_VARIABLE, tester->options.mutant, 1);
    }
    if (dies_after != 0) {
        (void)snprintf(number, sizeof number, "%" PRIu64, dies_after);
        (void)setenv(POWER_DIE_VARIABLE, number, 1);
    }
    char seed_text[32];
    char life_text[32];
    (void)snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    (void)snprintf(life_text, sizeof life_text, "%" PRIu64, chain->life);
    (void)alarm(RECORD_SECONDS_MAX);
    (void)execl("/proc/self/exe", "mom-power", "live", shape_names[chain->shape],
                tester->root, tester->sockets, seed_text, life_text, (char *)NULL);
    _exit(127);
}

/* Runs one life; its log is mapped. NULL: it failed. */
static struct power_log *record_life(struct tester *tester, const struct chain *chain,
                                     uint64_t seed, uint64_t dies_after) {
    (void)unlink(tester->log);
    int fd = open(tester->log, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    MOMI_ASSERT(fd >= 0);
    MOMI_ASSERT(ftruncate(fd, POWER_LOG_BYTES) == 0);
    struct power_log *log =
        mmap(NULL, POWER_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MOMI_ASSERT(log != MAP_FAILED);
    close(fd);
    log->magic = POWER_MAGIC;
    log->used_bytes = sizeof *log;
    remove_tree(tester->sockets);
    MOMI_ASSERT(mkdir(tester->sockets, 0700) == 0);
    pid_t child = fork();
    MOMI_ASSERT(child >= 0);
    if (child == 0) {
        run_recorded(tester, chain, seed, dies_after);
    }
    int status = 0;
    MOMI_ASSERT(waitpid(child, &status, 0) == child);
    bool is_killed =
        WIFEXITED(status) && WEXITSTATUS(status) == POWER_DIED && dies_after != 0;
    if (status != 0 && !is_killed) {
        printf("FAILED: the recorded program ended with %s %d\n",
               WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        (void)munmap(log, POWER_LOG_BYTES);
        return NULL;
    }
    tester->totals.lives++;
    tester->totals.kills += is_killed ? 1 : 0;
    return log;
}

/* ---- Choosing moments ---- */

static const struct power_record *record_at(const struct power_log *log,
                                            uint64_t offset) {
    return (const struct power_record *)(const void *)((const uint8_t *)log + offset);
}

static bool is_near(const struct power_record *record) {
    return record->op != POWER_WRITE;
}

static int compare_numbers(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The weight of the moments before and after a record. */
static uint64_t weigh(const struct power_record *before,
                      const struct power_record *after) {
    bool is_so = (before != NULL && is_near(before)) || (after != NULL && is_near(after));
    return is_so ? NEAR_WEIGHT : 1;
}

static uint64_t whole_weight(const struct power_log *log) {
    uint64_t weight = 0;
    const struct power_record *before = NULL;
    for (uint64_t at = sizeof *log; at < log->used_bytes;) {
        const struct power_record *record = record_at(log, at);
        weight += weigh(before, record);
        before = record;
        at += record->size;
    }
    return weight + weigh(before, NULL);
}

static uint64_t *choose_moments(struct tester *tester, const struct power_log *log,
                                size_t count) {
    uint64_t weight = whole_weight(log);
    uint64_t *chosen = momi_must_calloc(count + 1, sizeof *chosen);
    for (size_t i = 0; i < count; i++) {
        chosen[i] = momi_rng_between(&tester->rng, 0, weight - 1);
    }
    qsort(chosen, count, sizeof *chosen, compare_numbers);
    chosen[count] = UINT64_MAX;
    return chosen;
}

/* ---- Cutting and judging ---- */

static struct cut draw_cut(struct tester *tester, const struct chain *chain) {
    struct cut cut = {
        .names = (enum cut_names)momi_rng_between(&tester->rng, 0, CUT_NAMES_COUNT - 1),
        .data = (enum cut_data)momi_rng_between(&tester->rng, 0, CUT_DATA_COUNT - 1),
        .torn_manifests = tester->options.torn_manifests != 0};
    if (chain->shape == SCENE_MESH && momi_rng_chance(&tester->rng, 250000)) {
        cut.only = scene_names[momi_rng_between(&tester->rng, 0, SCENE_NODES - 1)];
    }
    return cut;
}

static enum judge_how draw_how(struct tester *tester, const struct chain *chain) {
    uint64_t kind = momi_rng_between(&tester->rng, 0, 99);
    if (chain->shape == SCENE_MESH && kind < 50) {
        return JUDGE_STORES;
    }
    if (chain->shape == SCENE_ASIDE) {
        return JUDGE_ONCE;
    }
    return kind < 90 ? JUDGE_ONCE : kind < 96 ? JUDGE_TWICE : JUDGE_CLOSED;
}

static void count_cut(struct tester *tester, const struct chain *chain,
                      const struct cut *cut, enum judge_how how, double spent_ms) {
    struct totals *totals = &tester->totals;
    totals->cuts++;
    totals->directories += chain->shape == SCENE_MESH ? SCENE_NODES : 1;
    totals->names[cut->names]++;
    totals->data[cut->data]++;
    totals->one_of_three += cut->only != NULL ? 1 : 0;
    totals->stores += how == JUDGE_STORES ? 1 : 0;
    totals->reopened += how == JUDGE_TWICE || how == JUDGE_CLOSED ? 1 : 0;
    totals->judge_ms += spent_ms;
}

static void keep(struct tester *tester, struct chain *chain, const struct cut *cut,
                 struct momi_rng rng) {
    char path[SCENE_PATH_BYTES];
    if (tester->options.keep == NULL) {
        return;
    }
    (void)mkdir(tester->options.keep, 0700);
    (void)snprintf(path, sizeof path, "%s/%" PRIu64 "-%" PRIu64, tester->options.keep,
                   tester->options.seed, tester->totals.failures);
    remove_tree(path);
    (void)cut_make(chain->image, cut, &rng, path);
    printf("  the directory is in %s, the log beside it\n", path);
    (void)snprintf(path, sizeof path, "%s/%" PRIu64 "-%" PRIu64 ".log",
                   tester->options.keep, tester->options.seed, tester->totals.failures);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (uint64_t done = 0; fd >= 0 && done < chain->log->used_bytes;) {
        ssize_t size =
            write(fd, (const uint8_t *)chain->log + done, chain->log->used_bytes - done);
        if (size <= 0) {
            break;
        }
        done += (uint64_t)size;
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void fail(struct tester *tester, struct chain *chain, const struct cut *cut,
                 uint64_t moment, struct momi_rng rng, const char *text) {
    tester->totals.failures++;
    printf("LOST: chain seed %" PRIu64 ", life %" PRIu64 ", moment %" PRIu64
           ", names %s, data %s%s%s: %s\n",
           tester->chain_seed, chain->life, moment, cut_names_text[cut->names],
           cut_data_text[cut->data], cut->only != NULL ? ", only of " : "",
           cut->only != NULL ? cut->only : "", text);
    keep(tester, chain, cut, rng);
    (void)fflush(stdout);
}

static void judge_cut(struct tester *tester, struct chain *chain, uint64_t moment) {
    for (int i = 0; i < TRIES_MAX; i++) {
        struct cut cut = draw_cut(tester, chain);
        struct momi_rng rng = tester->rng;
        uint64_t hash = cut_make(chain->image, &cut, &tester->rng, tester->cut);
        hash ^= (chain->facts->count + 1) * 0x9e3779b97f4a7c15ULL;
        if (!remember(tester, hash)) {
            tester->totals.repeated++;
            remove_tree(tester->cut);
            continue;
        }
        enum judge_how how = draw_how(tester, chain);
        double began_ms = now_ms();
        remove_tree(tester->sockets);
        MOMI_ASSERT(mkdir(tester->sockets, 0700) == 0);
        const char *text = judge_directory(tester->judge, chain->shape, how, tester->cut,
                                           tester->sockets, chain->facts);
        count_cut(tester, chain, &cut, how, now_ms() - began_ms);
        remove_tree(tester->cut);
        if (text != NULL) {
            fail(tester, chain, &cut, moment, rng, text);
        }
        return;
    }
}

/* Another cut of the same moment, where the next life begins. */
static void make_next(struct tester *tester, struct chain *chain) {
    struct cut cut = draw_cut(tester, chain);
    remove_tree(tester->next);
    (void)cut_make(chain->image, &cut, &tester->rng, tester->next);
    *chain->next_facts = *chain->facts;
    chain->has_next = true;
}

static bool is_enough(const struct tester *tester) {
    const struct totals *totals = &tester->totals;
    return totals->failures >= FAILURES_MAX || now_ms() >= tester->end_ms ||
           (tester->options.mutant != NULL && totals->failures > 0);
}

static void show_progress(struct tester *tester, enum scene_shape shape, uint64_t done,
                          uint64_t wanted) {
    double now = now_ms();
    if (now < tester->progress_at_ms) {
        return;
    }
    tester->progress_at_ms = now + PROGRESS_SECONDS * 1e3;
    const struct totals *totals = &tester->totals;
    printf("%s: %" PRIu64 " of %" PRIu64 " cuts, %" PRIu64 " lives, %" PRIu64
           " failures, %.1f ms each\n",
           shape_names[shape], done, wanted, totals->lives, totals->failures,
           totals->cuts == 0 ? 0.0 : totals->judge_ms / (double)totals->cuts);
    (void)fflush(stdout);
}

static void take_fact(struct chain *chain, const struct power_record *record) {
    struct power_fact fact;
    if (record->op == POWER_FACT) {
        memcpy(&fact, (const char *)(record + 1) + record->path_size, sizeof fact);
        facts_add(chain->facts, &fact);
    }
}

/* Walks the log once; false: it cannot be followed, or is not the whole truth. */
static bool walk(struct tester *tester, struct chain *chain, const struct power_log *log,
                 size_t count) {
    char what[VERDICT_BYTES];
    uint64_t *chosen = choose_moments(tester, log, count);
    size_t next_at = (size_t)momi_rng_between(&tester->rng, 0, count - 1);
    size_t at = 0;
    uint64_t weight = 0;
    uint64_t moment = 0;
    const struct power_record *before = NULL;
    bool is_followed = true;
    for (uint64_t offset = sizeof *log; offset <= log->used_bytes && is_followed;) {
        const struct power_record *record =
            offset < log->used_bytes ? record_at(log, offset) : NULL;
        weight += weigh(before, record);
        tester->totals.moments += chosen[at] < weight ? 1 : 0;
        for (; chosen[at] < weight; at++) {
            if (!is_enough(tester)) {
                judge_cut(tester, chain, moment);
            }
            if (at == next_at) {
                make_next(tester, chain);
            }
        }
        if (record == NULL) {
            break;
        }
        is_followed = image_apply(chain->image, record, what, sizeof what);
        take_fact(chain, record);
        before = record;
        offset += record->size;
        moment++;
    }
    tester->totals.records += moment;
    is_followed =
        is_followed && image_equals(chain->image, tester->root, what, sizeof what);
    if (!is_followed) {
        printf("FAILED: %s\n", what);
    }
    momi_free(chosen);
    return is_followed;
}

/* ---- Chains ---- */

/* Every second chain begins with a life that is killed at one of its first calls. */
static bool is_stillborn(const struct tester *tester, const struct chain *chain) {
    return chain->life == 0 && tester->chains % 2 == 0;
}

/* Into the state that the next life finds: what a kill leaves, or a power cut. */
static void pass_on(struct tester *tester, struct chain *chain) {
    if (!chain->has_next || is_stillborn(tester, chain) ||
        momi_rng_chance(&tester->rng, 400000)) {
        return; /* killed: what is not durable stays so */
    }
    remove_tree(tester->root);
    MOMI_ASSERT(rename(tester->next, tester->root) == 0);
    image_free(chain->image);
    chain->image = image_read(tester->root);
    *chain->facts = *chain->next_facts;
}

static uint64_t draw_death(struct tester *tester, const struct chain *chain) {
    if (is_stillborn(tester, chain)) {
        return 1 + (tester->chains / 2 - 1) % STILLBIRTHS;
    }
    uint64_t kind = momi_rng_between(&tester->rng, 0, 99);
    return kind < 50   ? 0
           : kind < 70 ? momi_rng_between(&tester->rng, 1, 150)
                       : momi_rng_between(&tester->rng, 150, 2000);
}

/* False: the tester itself cannot go on. */
static bool run_chain(struct tester *tester, enum scene_shape shape, uint64_t end) {
    struct chain chain = {.shape = shape};
    bool is_well = true;
    remove_tree(tester->root);
    remove_tree(tester->next);
    MOMI_ASSERT(mkdir(tester->root, 0700) == 0);
    chain.facts = momi_must_calloc(1, sizeof *chain.facts);
    chain.next_facts = momi_must_calloc(1, sizeof *chain.next_facts);
    chain.image = image_read(tester->root);
    uint64_t lives =
        tester->options.mutant != NULL ? 2 : momi_rng_between(&tester->rng, 2, LIVES_MAX);
    for (;
         chain.life < lives && is_well && !is_enough(tester) && tester->totals.cuts < end;
         chain.life++) {
        uint64_t left = end - tester->totals.cuts;
        size_t count =
            (size_t)(left < tester->options.each ? left : tester->options.each);
        uint64_t seed = momi_rng_next(&tester->rng);
        uint64_t dies_after = draw_death(tester, &chain);
        struct power_log *log = record_life(tester, &chain, seed, dies_after);
        is_well = log != NULL;
        chain.log = log;
        if (is_well) {
            is_well = walk(tester, &chain, log, count);
            (void)munmap(log, POWER_LOG_BYTES);
            pass_on(tester, &chain);
        }
    }
    image_free(chain.image);
    momi_free(chain.facts);
    momi_free(chain.next_facts);
    return is_well;
}

static bool run_shape(struct tester *tester, enum scene_shape shape, uint64_t wanted) {
    uint64_t before = tester->totals.cuts;
    while (tester->totals.cuts - before < wanted && !is_enough(tester)) {
        tester->chain_seed = momi_rng_next(&tester->rng);
        tester->chains++;
        if (!run_chain(tester, shape, before + wanted)) {
            return false;
        }
        show_progress(tester, shape, tester->totals.cuts - before, wanted);
    }
    return true;
}

/* ---- Around it ---- */

static void print_totals(const struct totals *totals) {
    printf("lives %" PRIu64 " (%" PRIu64 " killed), records %" PRIu64 ", moments %" PRIu64
           ", cuts %" PRIu64 " (%" PRIu64 " drawn again and left out)\n",
           totals->lives, totals->kills, totals->records, totals->moments, totals->cuts,
           totals->repeated);
    printf("names:");
    for (int i = 0; i < CUT_NAMES_COUNT; i++) {
        printf(" %s %" PRIu64, cut_names_text[i], totals->names[i]);
    }
    printf("\ndata:");
    for (int i = 0; i < CUT_DATA_COUNT; i++) {
        printf(" %s %" PRIu64, cut_data_text[i], totals->data[i]);
    }
    printf("\nopened twice %" PRIu64 ", one node of three %" PRIu64
           ", stores only %" PRIu64 ", %.1f ms each\n",
           totals->reopened, totals->one_of_three, totals->stores,
           totals->cuts == 0 ? 0.0 : totals->judge_ms / (double)totals->cuts);
    printf("%" PRIu64 " directories in %" PRIu64 " cuts, %" PRIu64 " lost\n",
           totals->directories, totals->cuts, totals->failures);
}

static uint64_t number(const char *text) {
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text) {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static enum scene_shape shape_of(const char *name) {
    for (size_t i = 0; i < sizeof shape_names / sizeof *shape_names; i++) {
        if (strcmp(shape_names[i], name) == 0) {
            return (enum scene_shape)i;
        }
    }
    fprintf(stderr, "no such shape: %s\n", name);
    exit(2);
}

static struct options read_options(int argc, char **argv) {
    struct options options = {.count = 500, .seed = 1, .each = 250};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i];
        if (strcmp(name, "--count") == 0) {
            options.count = number(argv[i + 1]);
        } else if (strcmp(name, "--mesh") == 0) {
            options.mesh = number(argv[i + 1]);
        } else if (strcmp(name, "--aside") == 0) {
            options.aside = number(argv[i + 1]);
        } else if (strcmp(name, "--seed") == 0) {
            options.seed = number(argv[i + 1]);
        } else if (strcmp(name, "--each") == 0) {
            options.each = number(argv[i + 1]);
        } else if (strcmp(name, "--torn-manifests") == 0) {
            options.torn_manifests = number(argv[i + 1]);
        } else if (strcmp(name, "--seconds") == 0) {
            options.seconds = number(argv[i + 1]);
        } else if (strcmp(name, "--mutant") == 0) {
            options.mutant = argv[i + 1];
        } else if (strcmp(name, "--keep") == 0) {
            options.keep = argv[i + 1];
        } else {
            fprintf(stderr, "unknown option %s\n", name);
            exit(2);
        }
    }
    return options;
}

/* In memory where there is such a place: a power cut is not waited for here. */
static void make_scratch(struct tester *tester) {
    const char *base = getenv("TMPDIR");
    bool has_memory = base == NULL && access("/dev/shm", W_OK) == 0;
    (void)snprintf(tester->base, sizeof tester->base, "%s/mom-power-XXXXXX",
                   has_memory     ? "/dev/shm"
                   : base == NULL ? "/tmp"
                                  : base);
    if (mkdtemp(tester->base) == NULL) {
        perror(tester->base);
        exit(1);
    }
    const struct {
        char *path;
        const char *name;
    } paths[] = {{tester->root, "root"},
                 {tester->cut, "cut"},
                 {tester->next, "next"},
                 {tester->sockets, "sockets"},
                 {tester->log, "log"}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        (void)snprintf(paths[i].path, SCENE_PATH_BYTES, "%.200s/%s", tester->base,
                       paths[i].name);
    }
}

/* Every opener would look up each symbol again: all are bound once, before the forks. */
static void bind_now(char **argv) {
    if (getenv("LD_BIND_NOW") == NULL) {
        (void)setenv("LD_BIND_NOW", "1", 1);
        (void)execv("/proc/self/exe", argv);
    }
}

int main(int argc, char **argv) {
    static struct tester tester;
    if (argc == 7 && strcmp(argv[1], "live") == 0) {
        return scene_live(shape_of(argv[2]), argv[3], argv[4], number(argv[5]),
                          number(argv[6]));
    }
    if (argc == 3 && strcmp(argv[1], "show") == 0) {
        return show_log(argv[2]);
    }
    bind_now(argv);
    tester.options = read_options(argc, argv);
    momi_rng_seed(&tester.rng, tester.options.seed);
    uint64_t seconds = tester.options.seconds;
    tester.end_ms = seconds == 0 ? 1e300 : now_ms() + (double)seconds * 1e3;
    tester.judge = judge_new();
    make_scratch(&tester);
    bool is_well = run_shape(&tester, SCENE_ALONE, tester.options.count) &&
                   run_shape(&tester, SCENE_MESH, tester.options.mesh) &&
                   run_shape(&tester, SCENE_ASIDE, tester.options.aside);
    print_totals(&tester.totals);
    remove_tree(tester.base);
    judge_free(tester.judge);
    momi_free(tester.hashes);
    if (tester.options.mutant != NULL) {
        printf("mutant %s: %s\n", tester.options.mutant,
               tester.totals.failures > 0 ? "found" : "NOT FOUND");
        return is_well && tester.totals.failures > 0 ? 0 : 1;
    }
    return is_well && tester.totals.failures == 0 ? 0 : 1;
}

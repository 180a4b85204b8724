/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A power cut: which of the changes that are not durable reached the disk. Names and data
 * are drawn apart from each other.
 */
#ifndef MOM_TESTS_POWER_CUT_H
#define MOM_TESTS_POWER_CUT_H

#include "base/rng.h"
#include "power/image.h"

/* Of changed names that are not durable. */
enum cut_names {
    CUT_NAMES_KEPT,    /* all are there */
    CUT_NAMES_LOST,    /* none is */
    CUT_NAMES_JOURNAL, /* the first of them, as with a journal: syncing anything commits
                          all before it */
    CUT_NAMES_ORDERED, /* the first of each directory */
    CUT_NAMES_ANY,     /* each by itself, but a rename not before what precedes it in its
                          directory (see below) */
    CUT_NAMES_COUNT,
};

/*
 * Without that exception no RocksDB survives: it renames CURRENT to its new manifest
 * before it has synced the name of the manifest, and of the tables that recovery wrote. A
 * file system that keeps the rename and loses the earlier name would be needed; those
 * with a journal, a log or copy on write do not.
 */

/* Of data that is not synced, for each file. */
enum cut_data {
    CUT_DATA_KEPT,
    CUT_DATA_LOST,
    CUT_DATA_PREFIX,  /* the first writes of each file */
    CUT_DATA_PAGES,   /* each page is old, new or between; at full length */
    CUT_DATA_SECTORS, /* the same with sectors: pages torn */
    CUT_DATA_SHORT,   /* the same, and the length is between too */
    CUT_DATA_ZEROS,   /* at full length, all that is new is zero */
    CUT_DATA_RUBBISH, /* at full length, some of what is new is what lay there before */
    CUT_DATA_MIXED,   /* each file another one of these */
    CUT_DATA_COUNT,
};
extern const char *const cut_names_text[CUT_NAMES_COUNT];
extern const char *const cut_data_text[CUT_DATA_COUNT];

struct cut {
    enum cut_names names;
    enum cut_data data;
    /* NULL: all. Otherwise only what lies below this name of the root loses anything: the
     * other nodes were killed at the same moment, with their disks' power on. */
    const char *only;
    /* Manifests, too, are torn inside of a record, at full length. RocksDB refuses such a
     * one (it forgives one that is short, or ends in zeros): nothing is lost, but the
     * node does not start alone, and in a mesh begins again under a new name. Known, and
     * left out unless asked for. */
    bool torn_manifests;
};

/* What differs from a cut that loses nothing; false: this moment has nothing to lose. */
bool cut_has_choice(const struct image *image);
/* Makes the directory `path`, which must not be there, and returns a hash of all of it.
 */
uint64_t cut_make(struct image *image, const struct cut *cut, struct momi_rng *rng,
                  const char *path);

#endif

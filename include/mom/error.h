/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file error.h
 * Result classes. Every libmom call returns 0 (`MOM_OK`) or minus the number of a class.
 *
 * The classes are the same in C, in Python, and as the exit status of the command line.
 * An error other than `MOM_UNKNOWN_OUTCOME` means: it was not done, now or later.
 */
#ifndef MOM_ERROR_H
#define MOM_ERROR_H

#include <mom/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One row per class: name, number, what it means, what the caller should do. */
#define MOM_ERROR_MAP(X)                                                                 \
    X(INVALID, 2, "bad argument, value or usage", "fix the call")                        \
    X(EMPTY, 3, "nothing to deliver now", "ask again later, or wait with a timeout")     \
    X(NOT_FOUND, 4, "no such thing", "create it, or check the name")                     \
    X(EXISTS, 5, "already there, nothing changed", "use the existing one")               \
    X(FORBIDDEN, 6, "known, not allowed", "ask the owner or an administrator")           \
    X(UNAUTHENTICATED, 7, "who are you?", "log in again")                                \
    X(NOT_SUBSCRIBED, 8, "no such subscription of yours",                                \
      "create the subscription first")                                                   \
    X(TOO_BIG, 9, "over the size limit", "split the message")                            \
    X(CONFLICT, 10, "stale, concurrent, or of another mesh",                             \
      "read the current state, then decide")                                             \
    X(FULL, 11, "a stated limit is reached", "consume or wait, then send again")         \
    X(UNAVAILABLE, 12, "no quorum or no reachable peer now", "retry later")              \
    X(TIMEOUT, 13, "the deadline passed, nothing was done", "retry, or allow more time") \
    X(UNKNOWN_OUTCOME, 14, "the deadline passed with the command in flight",             \
      "find out what happened before doing it again")                                    \
    X(CLOSED, 15, "the handle or node is closed", "open it again")                       \
    X(IO, 16, "the local store failed", "check the disk, then reopen the node")          \
    X(CORRUPT, 17, "stored data is damaged on every copy", "restore from elsewhere")     \
    X(NO_MEMORY, 18, "refused for lack of memory, nothing changed",                      \
      "free memory, then retry")                                                         \
    X(VERSION, 19, "the two sides do not fit", "bring both sides to one version")

enum mom_error {
    MOM_OK = 0,
#define MOM_ERROR_ENUM(name, number, text, advice) MOM_##name = -(number),
    MOM_ERROR_MAP(MOM_ERROR_ENUM)
#undef MOM_ERROR_ENUM
};

/** The name of a class without prefix ("NOT_FOUND"); "OK" for 0, "UNKNOWN" for a number
 * that is none. *Thread:* any. The string is static. */
MOM_API const char *mom_err_name(int error);

/** What the class means, in one phrase. *Thread:* any. The string is static. */
MOM_API const char *mom_strerror(int error);

/** What to do about it, in one phrase. *Thread:* any. The string is static. */
MOM_API const char *mom_err_advice(int error);

/** The detail of the last error on this thread (which name, which limit, who is waited
 * for); "" if there was none. Valid until the next libmom call on this thread. */
MOM_API const char *mom_last_error_text(void);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each checker against hand-made histories: bad ones that it must flag, each a few lines
 * around one mistake, and legal ones that look strange and must pass. Times are the line
 * numbers, in milliseconds; `@N` before a line sets the time.
 */
#include "t.h"

#include "check/judge.h"
#include "check/ledger.h"

#include <mom/error.h>

struct made {
    struct check_history history;
    struct check_judge *judge;
};

/* Judges lines without their time, separated by newlines. */
static void make(struct made *made, const char *text) {
    check_history_init(&made->history);
    made->judge = check_judge_new(made->history.names);
    uint64_t now_ms = 0;
    while (*text != 0) {
        size_t size = strcspn(text, "\n");
        char line[CHECK_LINE_MAX];
        now_ms++;
        if (*text == '@') {
            char *rest;
            now_ms = strtoull(text + 1, &rest, 10);
            size -= (size_t)(rest + 1 - text);
            text = rest + 1;
        }
        int length = snprintf(line, sizeof line, "%llu000000 %.*s",
                              (unsigned long long)now_ms, (int)size, text);
        struct check_record record;
        const char *why = "";
        if (check_read(made->history.names, line, (size_t)length, &record, &why) != 1) {
            fail_msg("%s: %s", line, why);
        }
        (void)check_judge_feed(made->judge, &record);
        text += size + (text[size] == '\n');
    }
    (void)check_judge_finish(made->judge);
}

static void drop(struct made *made) {
    check_judge_free(made->judge);
    check_history_free(&made->history);
}

static void must_pass(const char *text) {
    struct made made;
    make(&made, text);
    const struct check_violations *violations = check_judge_violations(made.judge);
    if (violations->count > 0) {
        fail_msg("%s: %s\nin\n%s", violations->list[0].checker, violations->list[0].text,
                 text);
    }
    drop(&made);
}

/* The first violation is this one. */
static void must_fail(const char *checker, const char *what, const char *text) {
    struct made made;
    make(&made, text);
    const struct check_violations *violations = check_judge_violations(made.judge);
    if (violations->count == 0) {
        fail_msg("not found: %s\nin\n%s", what, text);
    }
    CHECK_STR(violations->list[0].checker, checker);
    if (strstr(violations->list[0].text, what) == NULL) {
        fail_msg("\"%s\" instead of \"%s\"", violations->list[0].text, what);
    }
    drop(&made);
}

/* A queue with a lease of 100 ms and three deliveries, and a reader of it. */
#define QUEUE                                                                            \
    "1 call create op=1 stream=q lease_ms=100 deliveries=3\n"                            \
    "1 done create op=1 result=OK\n"                                                     \
    "1 call open op=2 stream=q consumer=1\n"                                             \
    "1 done open op=2 result=OK\n"
#define SEND(msg, seq)                                                                   \
    "1 call publish op=10" #msg " stream=q pub=1 msg=" #msg " digest=a" #msg "\n"        \
    "1 done publish op=10" #msg " result=OK seq=" #seq "\n"
#define SEND_UNKNOWN(msg)                                                                \
    "1 call publish op=10" #msg " stream=q pub=1 msg=" #msg "\n"                         \
    "1 done publish op=10" #msg " result=UNKNOWN_OUTCOME\n"
#define TAKE(msg, seq, n)                                                                \
    "1 saw deliver stream=q consumer=1 pub=1 msg=" #msg " seq=" #seq " n=" #n            \
    " re=" TAKE_MARK_##n "\n"
#define TAKE_MARK_1 "0"
#define TAKE_MARK_2 "1"
#define TAKE_MARK_3 "1"
#define TAKE_MARK_4 "1"
#define ACK(msg)                                                                         \
    "1 call ack op=20" #msg " stream=q consumer=1 pub=1 msg=" #msg "\n"                  \
    "1 done ack op=20" #msg " result=OK\n"
#define DRAINED "1 saw drained stream=q\n"

/* --- total queue ------------------------------------------------------------------ */

static const char total_queue[] = "total queue";

static void total_queue_flags_loss(void **state) {
    (void)state;
    must_fail(total_queue, "was acknowledged and was never consumed in q: lost",
              QUEUE SEND(0, 1) DRAINED);
    must_fail(total_queue, "never consumed in q: lost",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) DRAINED);
    /* An acknowledgement that was refused consumed nothing. */
    must_fail(total_queue, "lost",
              QUEUE SEND(0, 1)
                  TAKE(0, 1, 1) "1 call ack op=9 stream=q consumer=1 pub=1 msg=0\n"
                                "1 done ack op=9 result=CONFLICT\n" DRAINED);
    /* An unknown one did not either, if the message came again. */
    must_fail(total_queue, "lost",
              QUEUE SEND(0, 1)
                  TAKE(0, 1, 1) "1 call ack op=9 stream=q consumer=1 pub=1 msg=0\n"
                                "1 done ack op=9 result=UNKNOWN_OUTCOME\n"
                                "@300 " TAKE(0, 1, 2) DRAINED);
    /* Who got it once has seen that it is there. */
    must_fail(total_queue, "came to somebody and was never consumed",
              QUEUE SEND_UNKNOWN(0) TAKE(0, 1, 1) DRAINED);
    /* A purge takes what was there before it, and nothing else. */
    must_fail(total_queue, "lost",
              QUEUE "1 call purge op=8 stream=q\n1 done purge op=8 result=OK\n" SEND(0, 1)
                  DRAINED);
    must_fail(total_queue, "lost",
              QUEUE SEND(0, 1) "1 call purge op=8 stream=q\n"
                               "1 done purge op=8 result=TIMEOUT\n" DRAINED);
}

static void total_queue_flags_what_is_from_nowhere(void **state) {
    (void)state;
    must_fail(total_queue, "p1:0 came to q and was never published", QUEUE TAKE(0, 1, 1));
    must_fail(total_queue, "is not what was sent",
              QUEUE SEND(0, 1) "1 saw deliver stream=q consumer=1 pub=1 msg=0 digest=b "
                               "n=1\n");
    must_fail(total_queue, "has another key",
              QUEUE SEND(0, 1) "1 saw deliver stream=q consumer=1 pub=1 msg=0 key=k "
                               "n=1\n");
    must_fail(total_queue, "does not belong there",
              QUEUE SEND(0, 1) "1 saw deliver stream=r consumer=2 pub=1 msg=0 n=1\n");
    must_fail(
        total_queue, "was deleted with its stream",
        QUEUE SEND(0, 1) "1 call delete op=3 stream=q\n1 done delete op=3 result=OK\n"
                         "1 call create op=4 stream=q\n1 done create op=4 result=OK\n"
                         "1 call open op=5 stream=q consumer=2\n"
                         "1 done open op=5 result=OK\n"
                         "1 saw deliver stream=q consumer=2 pub=1 msg=0 n=1\n");
}

#define TOPIC(filter, from)                                                              \
    "1 call create op=1 stream=t lease_ms=100\n1 done create op=1 result=OK\n"           \
    "1 call publish op=2 stream=t pub=1 msg=0 key=a.x\n"                                 \
    "1 done publish op=2 result=OK seq=1\n"                                              \
    "1 call subscribe op=3 stream=t sub=s filter=" filter " from=" from "\n"             \
    "1 done subscribe op=3 result=OK\n"                                                  \
    "1 call open op=4 stream=t sub=s consumer=1\n1 done open op=4 result=OK\n"           \
    "1 call publish op=5 stream=t pub=1 msg=1 key=a.x.y\n"                               \
    "1 done publish op=5 result=OK seq=2\n"
#define TOPIC_TAKE(msg)                                                                  \
    "1 saw deliver stream=t sub=s consumer=1 pub=1 msg=" #msg " n=1\n"                   \
    "1 call ack op=1" #msg " stream=t sub=s consumer=1 pub=1 msg=" #msg "\n"             \
    "1 done ack op=1" #msg " result=OK\n"
#define TOPIC_DRAINED "1 saw drained stream=t sub=s\n"

static void total_queue_knows_subscriptions(void **state) {
    (void)state;
    must_pass(TOPIC("#", "new") TOPIC_TAKE(1) TOPIC_DRAINED);
    must_fail(total_queue, "p1:1 was acknowledged and was never consumed in t/s",
              TOPIC("#", "new") TOPIC_DRAINED);
    must_fail(total_queue, "p1:0 was acknowledged and was never consumed in t/s",
              TOPIC("#", "first") TOPIC_TAKE(1) TOPIC_DRAINED);
    must_pass(TOPIC("#", "first") TOPIC_TAKE(0) TOPIC_TAKE(1) TOPIC_DRAINED);
    must_pass(TOPIC("a.*", "new") TOPIC_DRAINED);
    must_fail(total_queue, "does not belong there", TOPIC("a.*", "new") TOPIC_TAKE(1));
    must_pass(TOPIC("#", "new") "1 call unsubscribe op=9 stream=t sub=s\n" TOPIC_DRAINED);
}

static void total_queue_passes_what_is_legal(void **state) {
    (void)state;
    must_pass(QUEUE SEND(0, 1) TAKE(0, 1, 1) ACK(0) DRAINED);
    /* Unknown: there, or not. */
    must_pass(QUEUE SEND_UNKNOWN(0) DRAINED);
    must_pass(QUEUE SEND_UNKNOWN(0) TAKE(0, 1, 1) ACK(0) DRAINED);
    /* It comes before its publisher knows. */
    must_pass(QUEUE "1 call publish op=5 stream=q pub=1 msg=0\n" TAKE(0, 1, 1) ACK(0)
                  DRAINED);
    /* The acknowledgement of a killed program may have been accepted. */
    must_pass(QUEUE SEND(0, 1)
                  TAKE(0, 1, 1) "1 call ack op=9 stream=q consumer=1 pub=1 msg=0\n"
                                "2 saw death of=1\n" DRAINED);
    /* Purged and deleted, also perhaps. */
    must_pass(QUEUE SEND(0, 1) "1 call purge op=8 stream=q\n"
                               "1 done purge op=8 result=OK\n" DRAINED);
    must_pass(QUEUE SEND(0, 1) "1 call delete op=8 stream=q\n"
                               "1 done delete op=8 result=UNKNOWN_OUTCOME\n" DRAINED);
    /* A queue made anew: a reader that was there goes on with the new one. */
    must_pass(QUEUE SEND(
        0, 1) "1 call delete op=3 stream=q\n1 done delete op=3 result=OK\n"
              "1 call create op=4 stream=q\n1 done create op=4 result=OK\n" SEND(1, 1)
                  TAKE(1, 1, 1) ACK(1) DRAINED);
}

static void filters_are_understood(void **state) {
    (void)state;
    CHECK(check_filter_matches("#", ""));
    CHECK(check_filter_matches("#", "a.b"));
    CHECK(check_filter_matches("a.*", "a.b"));
    CHECK(!check_filter_matches("a.*", "a"));
    CHECK(!check_filter_matches("a.*", "a.b.c"));
    CHECK(check_filter_matches("a.#", "a"));
    CHECK(check_filter_matches("a.#", "a.b.c"));
    CHECK(!check_filter_matches("a.#", "ab"));
    CHECK(check_filter_matches("#.c", "a.b.c"));
    CHECK(check_filter_matches("#.b.#", "a.b.c"));
    CHECK(!check_filter_matches("#.b.#", "a.c"));
    CHECK(check_filter_matches("*.#.c", "a.c"));
    CHECK(!check_filter_matches("*.#.c", "c"));
    CHECK(!check_filter_matches("a", "a.b"));
    CHECK(!check_filter_matches("a.b", "a"));
    CHECK(check_filter_matches("#.a.#.b", "a.x.a.b"));
}

/* --- refused is not done ---------------------------------------------------------- */

static void a_refused_message_must_not_come(void **state) {
    (void)state;
    static const char checker[] = "refused is not done";
    must_fail(checker, "was refused and is delivered",
              QUEUE "1 call publish op=9 stream=q pub=1 msg=0\n"
                    "1 done publish op=9 result=FULL\n" TAKE(0, 1, 1));
    must_fail(checker, "was delivered and refused (TIMEOUT)",
              QUEUE "1 call publish op=9 stream=q pub=1 msg=0\n" TAKE(
                  0, 1, 1) "1 done publish op=9 result=TIMEOUT\n");
    must_pass(QUEUE "1 call publish op=9 stream=q pub=1 msg=0\n"
                    "1 done publish op=9 result=FULL\n" DRAINED);
}

/* --- order ------------------------------------------------------------------------ */

static const char order[] = "order";

static void order_flags_what_is_out_of_order(void **state) {
    (void)state;
    must_fail(order, "the publisher's order is broken", QUEUE SEND(0, 2) SEND(1, 1));
    /* The one between is known last. */
    must_fail(order, "the publisher's order is broken",
              QUEUE SEND(0, 1) SEND_UNKNOWN(1) SEND(2, 3) TAKE(1, 4, 1));
    must_fail(order, "both have sequence 1", QUEUE SEND(0, 1) SEND(1, 1));
    must_fail(order, "is message 1 and comes as 2: doubled",
              QUEUE SEND(0, 1) TAKE(0, 2, 1));
    must_fail(order, "is message 2 and is acknowledged as 1: doubled",
              QUEUE "1 call publish op=9 stream=q pub=1 msg=0\n" TAKE(
                  0, 2, 1) "1 done publish op=9 result=OK seq=1\n");
    must_fail(order, "comes to the only reader of q after 2",
              QUEUE SEND(0, 1) SEND(1, 2) TAKE(1, 2, 1) TAKE(0, 1, 1));
    /* Found at the end: between two that are in order. */
    must_fail(order, "the publisher's order is broken",
              QUEUE SEND_UNKNOWN(0) SEND_UNKNOWN(1) SEND_UNKNOWN(2) SEND_UNKNOWN(3)
                  TAKE(3, 9, 1) "1 call open op=7 stream=q consumer=2\n" TAKE(1, 3, 1)
                      TAKE(2, 2, 1));
}

static void order_passes_what_is_legal(void **state) {
    (void)state;
    /* It comes to two subscriptions, before and after its publisher knows, who is not
     * told the number. */
    must_pass("1 call create op=9 stream=t\n"
              "1 call publish op=1 stream=t pub=1 msg=0\n"
              "1 saw deliver stream=t sub=s consumer=1 pub=1 msg=0 seq=7 n=1\n"
              "1 done publish op=1 result=OK\n"
              "1 saw deliver stream=t sub=u consumer=2 pub=1 msg=0 seq=7 n=1\n");
    /* Another life of the publisher. */
    must_pass("1 call create op=9 stream=q\n"
              "1 call publish op=1 stream=q pub=1 msg=0 life=1\n"
              "1 done publish op=1 result=OK seq=5\n"
              "1 call publish op=2 stream=q pub=1 msg=1 life=2\n"
              "1 done publish op=2 result=OK seq=4\n"
              "1 call publish op=3 stream=q pub=1 msg=2 life=1\n"
              "1 done publish op=3 result=OK seq=6\n"
              "1 call purge op=4 stream=q\n");
    /* A redelivered one comes back to its place; a second reader gets what was given
     * back. */
    must_pass(QUEUE SEND(0, 1) SEND(1, 2) TAKE(0, 1, 1)
                  TAKE(1, 2, 1) "@300 " TAKE(0, 1, 2) ACK(0) ACK(1) DRAINED);
    must_pass(QUEUE SEND(0, 1) SEND(1, 2) "2 call open op=1 stream=q consumer=1\n" TAKE(
        1, 2, 1) TAKE(0, 1, 1) ACK(0) ACK(1) DRAINED);
    /* Sequences begin anew with the stream. */
    must_pass(QUEUE SEND(
        0, 1) "1 call delete op=3 stream=q\n1 done delete op=3 result=OK\n"
              "1 call create op=4 stream=q\n1 done create op=4 result=OK\n" SEND(1, 1)
                  TAKE(1, 1, 1) ACK(1) DRAINED);
}

/* --- leases ----------------------------------------------------------------------- */

static const char leases[] = "leases";

#define OTHER                                                                            \
    "2 call open op=1 stream=q consumer=1\n"                                             \
    "2 done open op=1 result=OK\n"
#define ARRIVES(process, token)                                                          \
#process " saw arrive stream=q consumer=1 pub=1 msg=0 seq=1 n=1 token=" #token "\n"
#define TAKES(process, n, mark, token)                                                   \
#process " saw deliver stream=q consumer=1 pub=1 msg=0 seq=1 n=" #n " re=" #mark     \
             " token=" #token "\n"
#define ACKS(process, op, token, result)                                                 \
#process " call ack op=" #op " stream=q consumer=1 pub=1 msg=0 token=" #token        \
             "\n" #process " done ack op=" #op " result=" #result "\n"

static void leases_flag_two_holders(void **state) {
    (void)state;
    must_fail(leases, "is handed out while another lease of it is live",
              QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 0) TAKES(2, 2, 1, 0));
    must_fail(leases, "is handed out while another lease of it is live",
              QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 0) "@90 " TAKES(2, 2, 1, 0));
    /* The lease was extended. */
    must_fail(leases, "is handed out while another lease of it is live",
              QUEUE OTHER SEND(0, 1) TAKES(
                  1, 1, 0, 0) "@80 1 call extend op=9 stream=q consumer=1 pub=1 msg=0\n"
                              "@82 1 done extend op=9 result=OK\n"
                              "@150 " TAKES(2, 2, 1, 0));
    /* The fault was over before. */
    must_fail(leases, "is handed out while another lease of it is live",
              "9 call fault op=1 what=cut\n9 done fault op=1\n" QUEUE OTHER SEND(0, 1)
                  TAKES(1, 1, 0, 0) TAKES(2, 2, 1, 0));
}

static void leases_flag_tokens(void **state) {
    (void)state;
    must_fail(leases, "comes twice with one token",
              QUEUE OTHER SEND(0, 1) ARRIVES(1, 7) ARRIVES(2, 7));
    must_fail(leases, "comes with another's token",
              QUEUE SEND(0, 1) SEND(1, 2)
                  ARRIVES(1, 7) "1 saw arrive stream=q consumer=1 pub=1 msg=1 seq=2 n=1 "
                                "token=7\n");
    must_fail(leases, "is handed out twice in one lease",
              QUEUE SEND(0, 1) TAKES(1, 1, 0, 7) "@300 " TAKES(1, 2, 1, 7));
    must_fail(leases, "is acknowledged with a lease that had ended",
              QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 7) "@300 " ARRIVES(2, 9)
                  ACKS(1, 8, 7, OK));
    /* The same without tokens. */
    must_fail(leases, "is acknowledged with a lease that had ended",
              QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 0) "@300 " TAKES(2, 2, 1, 0)
                  ACKS(1, 8, 0, OK));
}

static void leases_flag_what_is_consumed_twice(void **state) {
    (void)state;
    must_fail(leases, "was consumed and comes again",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) ACK(0) "@300 " TAKE(0, 1, 2));
    must_fail(leases, "was consumed and comes again",
              QUEUE SEND(0, 1) TAKES(1, 1, 0, 7) ACKS(1, 8, 7, OK) ARRIVES(1, 8));
    must_fail(leases, "is consumed twice",
              QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(1, 1, 0, 0)
                  TAKES(2, 2, 1, 0) ACKS(2, 8, 0, OK) ACKS(1, 8, 0, OK));
}

static void leases_pass_what_is_legal(void **state) {
    (void)state;
    /* It ran out; it was given back; its reader closed, ended, died. */
    must_pass(QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 7) "@300 " TAKES(2, 2, 1, 9)
                  ACKS(2, 8, 9, OK) ACKS(1, 8, 7, CONFLICT) DRAINED);
    must_pass(QUEUE OTHER SEND(0, 1) TAKES(
        1, 1, 0,
        7) "1 call nack op=7 stream=q consumer=1 pub=1 msg=0 token=7\n" TAKES(2, 2, 1, 9)
                  ACKS(2, 8, 9, OK) DRAINED);
    must_pass(QUEUE OTHER SEND(0, 1) TAKES(
        1, 1, 0, 7) "1 call close op=7 stream=q consumer=1\n" TAKES(2, 2, 1, 9)
                  ACKS(2, 8, 9, OK) DRAINED);
    must_pass(QUEUE OTHER SEND(0, 1)
                  TAKES(1, 1, 0, 7) "1 saw end stream=q consumer=1\n" TAKES(2, 2, 1, 9)
                      ACKS(2, 8, 9, OK) DRAINED);
    must_pass(QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 7) "9 saw death of=1\n" TAKES(
        2, 2, 1, 9) ACKS(2, 8, 9, OK) DRAINED);
    /* A fault may have cut its reader off. */
    must_pass(QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(
        1, 1, 0, 7) "9 done fault op=1\n" TAKES(2, 2, 1, 9) ACKS(2, 8, 9, OK) DRAINED);
    /* An older lease comes late, from a leader that did not know; acts with it are
     * refused. */
    must_pass(QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(2, 2, 1, 9)
                  TAKES(1, 1, 0, 7) ACKS(2, 8, 9, OK) ACKS(1, 8, 7, CONFLICT) DRAINED);
    /* A late delivery of a lease from before it was consumed. */
    must_pass(QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(2, 2, 1, 9)
                  ACKS(2, 8, 9, OK) TAKES(1, 1, 0, 7) DRAINED);
}

/* --- redelivery ------------------------------------------------------------------- */

static const char redelivery[] = "redelivery";

static void redelivery_flags_marks_and_counts(void **state) {
    (void)state;
    must_fail(redelivery, "comes to q again and is not marked as redelivered",
              QUEUE OTHER SEND(0, 1) TAKES(1, 1, 0, 7) "@300 " TAKES(2, 1, 0, 9));
    must_fail(redelivery, "is unmarked and delivered for the time 2",
              QUEUE SEND(0, 1) TAKES(1, 2, 0, 7));
    must_fail(redelivery, "is marked and delivered for the time 1",
              QUEUE SEND(0, 1) TAKES(1, 1, 1, 7));
    must_fail(redelivery, "for the time 4, at most 3 are allowed",
              QUEUE SEND(0, 1) TAKES(1, 4, 1, 7));
    must_fail(redelivery, "is delivered for the time 2, after the time 3",
              QUEUE SEND(0, 1) TAKES(1, 3, 1, 7) "@300 " TAKES(1, 2, 1, 9));
    must_fail(redelivery, "given back: that is not counted",
              QUEUE SEND(0, 1) TAKES(
                  1, 2, 1, 7) "1 call nack op=9 stream=q consumer=1 pub=1 msg=0 token=7\n"
                              "1 done nack op=9 result=OK\n" TAKES(1, 2, 1, 9));
}

static void redelivery_passes_what_is_legal(void **state) {
    (void)state;
    /* It lay in the buffer of a lost reader: marked, and not counted twice. */
    must_pass(QUEUE OTHER SEND(0, 1) TAKES(1, 2, 1, 7) "9 saw death of=1\n" TAKES(
        2, 2, 1, 9) ACKS(2, 8, 9, OK) DRAINED);
    /* The first delivery is seen after the second. */
    must_pass(QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(2, 2, 1, 9)
                  TAKES(1, 1, 0, 7) ACKS(2, 8, 9, OK) DRAINED);
    /* A program that does not know the count. */
    must_pass(QUEUE SEND(0, 1) "1 saw deliver stream=q consumer=1 pub=1 msg=0\n" ACK(0)
                  DRAINED);
}

/* --- dead letters ----------------------------------------------------------------- */

static const char dead_letters[] = "dead letters";

#define DEAD_OPEN                                                                        \
    "3 call open op=1 stream=$dead/queue/q consumer=1\n3 done open op=1 result=OK\n"
#define DEAD(token)                                                                      \
    "3 saw deliver stream=$dead/queue/q consumer=1 pub=1 msg=0 seq=1 n=1 token=" #token  \
    "\n"
#define DEAD_ACK                                                                         \
    "3 call ack op=5 stream=$dead/queue/q consumer=1 pub=1 msg=0\n"                      \
    "3 done ack op=5 result=OK\n"
#define DEAD_DRAINED "3 saw drained stream=$dead/queue/q\n"
#define REJECT(result)                                                                   \
    "1 call reject op=6 stream=q consumer=1 pub=1 msg=0\n"                               \
    "1 done reject op=6 result=" #result "\n"

static void dead_letters_are_in_one_place(void **state) {
    (void)state;
    must_fail(dead_letters, "was consumed in q and is a dead letter",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(UNKNOWN_OUTCOME) ACK(0) DEAD(0));
    must_fail(dead_letters, "is a dead letter and is consumed in q",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(UNKNOWN_OUTCOME) DEAD(0) ACK(0));
    must_fail(dead_letters, "is a dead letter and comes from q again",
              QUEUE SEND(0, 1) TAKES(1, 1, 0, 7) REJECT(UNKNOWN_OUTCOME) DEAD(8)
                  ARRIVES(1, 9));
    must_fail(dead_letters, "is a dead letter and comes from q again",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) DEAD(0) "@300 " TAKE(0, 1, 2));
    must_fail(dead_letters, "is a dead letter without a cause: 1 of 3 deliveries",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) DEAD(0));
    must_fail(dead_letters, "was rejected in q and is no dead letter: lost",
              DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) DEAD_DRAINED);
    must_fail(dead_letters, "is a dead letter and is consumed in q",
              QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) ACK(0));
    must_fail(total_queue, "p1:0 was acknowledged and was never consumed in q: lost",
              DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(UNKNOWN_OUTCOME)
                  DRAINED DEAD_DRAINED);
    /* What came as a dead letter must be consumed there. */
    must_fail(total_queue, "never consumed in $dead/queue/q: lost",
              DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) DEAD(0)
                  DRAINED DEAD_DRAINED);
}

static void dead_letters_pass_what_is_legal(void **state) {
    (void)state;
    must_pass(DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) DEAD(0)
                  DEAD_ACK DRAINED DEAD_DRAINED);
    /* As many deliveries as allowed. */
    must_pass(DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1) "@300 " TAKE(0, 1, 2) "@600 " TAKE(
        0, 1, 3) "@900 " DEAD(0) DEAD_ACK DRAINED DEAD_DRAINED);
    /* The rejection was too late. */
    must_pass(DEAD_OPEN QUEUE SEND(0, 1) TAKE(0, 1, 1)
                  REJECT(CONFLICT) "@300 " TAKE(0, 1, 2) ACK(0) DRAINED DEAD_DRAINED);
    /* Nobody reads the dead letters. */
    must_pass(QUEUE SEND(0, 1) TAKE(0, 1, 1) REJECT(OK) DRAINED);
    /* An old lease of the queue comes late. */
    must_pass(DEAD_OPEN QUEUE OTHER "9 call fault op=1 what=cut\n" SEND(0, 1) TAKES(
        1, 2, 1, 7) REJECT(OK) DEAD(8) TAKES(2, 1, 0, 5) DEAD_ACK DRAINED DEAD_DRAINED);
}

/* --- creates and deletes ---------------------------------------------------------- */

static const char creates[] = "creates and deletes";
#define CALL(process, op, kind) #process " call " #kind " op=" #op " stream=q\n"
#define DONE(process, op, kind, result)                                                  \
#process " done " #kind " op=" #op " result=" #result "\n"
#define BOTH(process, op, kind, result)                                                  \
    CALL(process, op, kind) DONE(process, op, kind, result)

static void creates_flag_what_no_order_explains(void **state) {
    (void)state;
    must_fail(creates, "delete answers OK", BOTH(1, 1, delete, OK));
    must_fail(creates, "describe answers OK", BOTH(1, 1, describe, OK));
    must_fail(creates, "create answers EXISTS", BOTH(1, 1, create, EXISTS));
    must_fail(creates, "create answers OK",
              BOTH(1, 1, create, OK) BOTH(1, 2, create, OK));
    must_fail(creates, "describe answers NOT_FOUND",
              BOTH(1, 1, create, OK) BOTH(2, 1, describe, NOT_FOUND));
    must_fail(creates, "describe answers OK",
              BOTH(1, 1, create, OK) BOTH(1, 2, delete, OK) BOTH(2, 1, describe, OK));
    /* Of two deletes at the same time one is OK. */
    must_fail(creates, "delete answers OK",
              BOTH(1, 1, create, OK) CALL(1, 2, delete) CALL(2, 1, delete)
                  DONE(1, 2, delete, OK) DONE(2, 1, delete, OK));
    /* Two that see, one after the other, see the delete undone. */
    must_fail(creates, "describe answers OK",
              BOTH(1, 1, create, OK) CALL(1, 2, delete) BOTH(2, 1, describe, NOT_FOUND)
                  BOTH(2, 2, describe, OK) DONE(1, 2, delete, OK));
    /* A refused create is not done. */
    must_fail(creates, "describe answers OK",
              BOTH(1, 1, create, TIMEOUT) BOTH(1, 2, describe, OK));
    /* One unknown delete explains one absence, not two. */
    must_fail(creates, "describe answers NOT_FOUND",
              BOTH(1, 1, create, OK) BOTH(1, 2, delete, UNKNOWN_OUTCOME)
                  BOTH(1, 3, describe, NOT_FOUND) BOTH(1, 4, create, OK)
                      BOTH(1, 5, describe, NOT_FOUND));
    /* Not before it was called. */
    must_fail(creates, "describe answers NOT_FOUND",
              BOTH(1, 1, create, OK) BOTH(2, 1, describe, NOT_FOUND)
                  BOTH(1, 2, delete, OK));
    /* A reader is told of an end that never was. */
    must_fail(creates, "end answers NOT_FOUND",
              QUEUE "1 saw end stream=q consumer=1 result=NOT_FOUND\n");
    must_fail(creates, "publish answers NOT_FOUND",
              QUEUE "1 call publish op=9 stream=q pub=1 msg=0\n"
                    "1 done publish op=9 result=NOT_FOUND\n");
}

static void creates_pass_what_is_legal(void **state) {
    (void)state;
    must_pass(BOTH(1, 1, describe, NOT_FOUND) BOTH(1, 2, create, OK)
                  BOTH(1, 3, create, EXISTS) BOTH(1, 4, delete, OK)
                      BOTH(1, 5, delete, NOT_FOUND) BOTH(1, 6, create, OK));
    /* Of two at the same time one wins, whichever. */
    must_pass(CALL(1, 1, create) CALL(2, 1, create) DONE(1, 1, create, EXISTS)
                  DONE(2, 1, create, OK));
    /* The one that sees was called before the delete, and is answered after a create. */
    must_pass(BOTH(1, 1, create, OK) CALL(2, 1, describe) BOTH(1, 2, delete, OK)
                  BOTH(1, 3, create, OK) DONE(2, 1, describe, NOT_FOUND));
    /* Unknown: at once, later, or never. */
    must_pass(BOTH(1, 1, create, UNKNOWN_OUTCOME) BOTH(1, 2, describe, NOT_FOUND)
                  BOTH(1, 3, describe, OK) BOTH(1, 4, create, EXISTS));
    must_pass(BOTH(1, 1, create, OK) BOTH(1, 2, delete, UNKNOWN_OUTCOME)
                  BOTH(1, 3, delete, OK) BOTH(1, 4, create, OK)
                      BOTH(1, 5, describe, NOT_FOUND) BOTH(1, 6, create, OK));
    /* Never answered. */
    must_pass(CALL(1, 1, create) BOTH(2, 1, describe, NOT_FOUND)
                  BOTH(2, 2, describe, OK));
    /* Two deletes, one unknown, around a create of somebody else. */
    must_pass(BOTH(1, 1, create, OK) CALL(1, 2, delete) CALL(2, 1, create)
                  CALL(3, 1, delete) DONE(3, 1, delete, OK) DONE(2, 1, create, OK)
                      DONE(1, 2, delete, OK) BOTH(1, 3, describe, NOT_FOUND));
    /* With if_missing both are fine. */
    must_pass("1 call create op=1 stream=q if_missing=1\n1 done create op=1 result=OK\n"
              "1 call create op=2 stream=q if_missing=1\n1 done create op=2 result=OK\n");
}

static void creates_judge_subscriptions(void **state) {
    (void)state;
#define SUB(op, result)                                                                  \
    "1 call subscribe op=" #op " stream=q sub=s\n1 done subscribe op=" #op               \
    " result=" #result "\n"
#define UNSUB(op, result)                                                                \
    "1 call unsubscribe op=" #op " stream=q sub=s\n1 done unsubscribe op=" #op           \
    " result=" #result "\n"
    must_fail(creates, "q/s: no order", BOTH(1, 1, create, OK) SUB(2, OK) SUB(3, OK));
    must_fail(creates, "q/s: no order", BOTH(1, 1, create, OK) UNSUB(2, OK));
    must_fail(creates, "subscribe answers NOT_FOUND",
              BOTH(1, 1, create, OK) SUB(2, NOT_FOUND));
    must_pass(BOTH(1, 1, create, OK) UNSUB(2, NOT_SUBSCRIBED) SUB(3, OK) SUB(4, EXISTS)
                  UNSUB(5, OK) SUB(6, OK));
    must_pass(SUB(1, NOT_FOUND) BOTH(1, 2, create, OK) SUB(3, OK) BOTH(1, 4, delete, OK)
                  BOTH(1, 5, create, OK) SUB(6, OK));
}

/* More creates and deletes at a time than there are places: the oldest become unknown. */
static void creates_stay_legal_with_many_at_a_time(void **state) {
    (void)state;
    char text[8192];
    size_t size = 0;
    for (int i = 1; i <= 40; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 "%d call %s op=1 stream=q\n", i,
                                 i % 2 ? "create" : "delete");
    }
    for (int i = 1; i <= 40; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 "%d done %s op=1 result=OK\n", i,
                                 i % 2 ? "create" : "delete");
    }
    must_pass(text);
}

/* --- equal states, and the history itself ----------------------------------------- */

static void states_must_be_equal(void **state) {
    (void)state;
    must_fail("equal states", "states of shard 2 differ at applied index 5 (process 2)",
              "1 saw hash shard=2 index=5 hash=a\n2 saw hash shard=2 index=5 hash=b\n");
    must_pass("1 saw hash shard=2 index=5 hash=a\n2 saw hash shard=2 index=5 hash=a\n"
              "2 saw hash shard=2 index=6 hash=b\n2 saw hash shard=1 index=5 hash=c\n");
}

static void a_history_must_be_one(void **state) {
    (void)state;
    must_fail("history", "call 1 (delete) is done twice, or was never made",
              DONE(1, 1, delete, OK));
    must_fail("history", "makes call 1 twice", CALL(1, 1, create) CALL(1, 1, create));
    must_fail("history", "uses number 0, which is not the next",
              "1 call publish op=1 stream=q pub=1 msg=0\n"
              "1 call publish op=2 stream=q pub=1 msg=0\n");
}

static void is_told(const char *checker, const char *what, uint64_t count, void *user) {
    (void)checker;
    uint64_t *found = user;
    *found += strcmp(what, "consumed") == 0 ? count : 0;
}

static void counts_say_what_was_checked(void **state) {
    (void)state;
    struct made made;
    uint64_t consumed = 0;
    make(&made, QUEUE SEND(0, 1) TAKE(0, 1, 1) ACK(0) DRAINED);
    check_judge_counts(made.judge, is_told, &consumed);
    CHECK_EQ(consumed, 1);
    CHECK_EQ(check_judge_missing(made.judge), 0);
    drop(&made);
    make(&made, QUEUE SEND(0, 1) SEND(1, 2));
    CHECK_EQ(check_judge_missing(made.judge), 2);
    drop(&made);
}

static void count_not_drained(const char *checker, const char *what, uint64_t count,
                              void *user) {
    (void)checker;
    uint64_t *found = user;
    *found += strcmp(what, "groups not drained") == 0 ? count : 0;
}

static void a_topic_is_drained_with_its_subscriptions(void **state) {
    (void)state;
    struct made made;
    uint64_t not_drained = 0;
    make(&made, TOPIC("#", "new") TOPIC_TAKE(1) TOPIC_DRAINED);
    check_judge_counts(made.judge, count_not_drained, &not_drained);
    CHECK_EQ(not_drained, 0);
    drop(&made);
    make(&made, TOPIC("#", "new") TOPIC_TAKE(1));
    check_judge_counts(made.judge, count_not_drained, &not_drained);
    CHECK_EQ(not_drained, 1);
    drop(&made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(total_queue_flags_loss),
        TEST(total_queue_flags_what_is_from_nowhere),
        TEST(total_queue_knows_subscriptions),
        TEST(total_queue_passes_what_is_legal),
        TEST(filters_are_understood),
        TEST(a_refused_message_must_not_come),
        TEST(order_flags_what_is_out_of_order),
        TEST(order_passes_what_is_legal),
        TEST(leases_flag_two_holders),
        TEST(leases_flag_tokens),
        TEST(leases_flag_what_is_consumed_twice),
        TEST(leases_pass_what_is_legal),
        TEST(redelivery_flags_marks_and_counts),
        TEST(redelivery_passes_what_is_legal),
        TEST(dead_letters_are_in_one_place),
        TEST(dead_letters_pass_what_is_legal),
        TEST(creates_flag_what_no_order_explains),
        TEST(creates_pass_what_is_legal),
        TEST(creates_judge_subscriptions),
        TEST(creates_stay_legal_with_many_at_a_time),
        TEST(states_must_be_equal),
        TEST(a_history_must_be_one),
        TEST(counts_say_what_was_checked),
        TEST(a_topic_is_drained_with_its_subscriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of gossip, over tcp and over ipc. Gossip is best effort: a test that needs
 * something to arrive says it again until it has, as the library does; what must hold
 * without repetition is the end of surveys, the limits, and a shutdown that returns.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "port/address.h"
#include "port/gossip.h"
#include "t.h"

enum {
    WAIT_SECONDS = 30,
    AGAIN_MS = 20,
    CLOSE_MS = 10000,
    SURVEY_MS = 300,
    TOKENS_MAX = 64,
};

static pthread_mutex_t records_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t records_changed = PTHREAD_COND_INITIALIZER;

/* One gossip with the record of its callbacks, guarded by records_mutex. */
struct talker {
    struct momi_gossip *gossip;
    const char *name;   /* its answer; NULL: silent */
    size_t answer_size; /* larger than the name: padded */
    char bus[MOMI_ADDRESS_BYTES_MAX];
    char survey[MOMI_ADDRESS_BYTES_MAX];
    uint64_t datagrams;
    size_t last_size;
    char last_text[32]; /* of the last datagram, its begin */
    uint64_t asked;
    uint64_t answers[TOKENS_MAX];
    uint64_t wrong_answers;
    uint64_t ended[TOKENS_MAX];
    uint64_t late; /* answers after the end */
};

struct scheme {
    bool is_ipc;
    int64_t live_before;
};
static struct scheme over_tcp = {.is_ipc = false};
static struct scheme over_ipc = {.is_ipc = true};
static char ipc_folder[] = "/tmp/mom-gossip-XXXXXX";

static int note_memory(void **state) {
    struct scheme *scheme = *state;
    scheme->live_before = momi_mem_live();
    return 0;
}

static int check_memory(void **state) {
    struct scheme *scheme = *state;
    return momi_mem_live() == scheme->live_before ? 0 : -1;
}

/* ---- callbacks ---- */

static void on_received(void *user, struct momi_slice datagram) {
    struct talker *talker = user;
    pthread_mutex_lock(&records_mutex);
    talker->datagrams++;
    talker->last_size = datagram.size;
    size_t shown = datagram.size < sizeof talker->last_text - 1
                       ? datagram.size
                       : sizeof talker->last_text - 1;
    memcpy(talker->last_text, datagram.data, shown);
    talker->last_text[shown] = '\0';
    pthread_cond_broadcast(&records_changed);
    pthread_mutex_unlock(&records_mutex);
}

static bool on_asked(void *user, struct momi_slice question, struct momi_bytes *answer) {
    struct talker *talker = user;
    pthread_mutex_lock(&records_mutex);
    talker->asked++;
    size_t size = talker->answer_size;
    pthread_cond_broadcast(&records_changed);
    pthread_mutex_unlock(&records_mutex);
    if (talker->name == NULL) {
        return false;
    }
    momi_bytes_append(answer, question.data, question.size);
    momi_bytes_append(answer, talker->name, strlen(talker->name));
    while (answer->size < size && !answer->failed) {
        momi_bytes_append(answer, ".", 1);
    }
    return true;
}

/* Each question of these tests is one byte, its token; an answer begins with the
 * question. */
static void on_answered(void *user, uint64_t token, struct momi_slice answer) {
    struct talker *talker = user;
    pthread_mutex_lock(&records_mutex);
    if (token >= TOKENS_MAX || answer.size < 2 || answer.data[0] != token) {
        talker->wrong_answers++;
    } else {
        talker->answers[token]++;
        talker->late += talker->ended[token];
    }
    pthread_cond_broadcast(&records_changed);
    pthread_mutex_unlock(&records_mutex);
}

static void on_survey_ended(void *user, uint64_t token) {
    struct talker *talker = user;
    pthread_mutex_lock(&records_mutex);
    talker->ended[token % TOKENS_MAX]++;
    pthread_cond_broadcast(&records_changed);
    pthread_mutex_unlock(&records_mutex);
}

/* ---- talkers ---- */

static struct timespec after_ms(uint64_t ms) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += (time_t)(ms / 1000);
    limit.tv_nsec += (long)(ms % 1000) * 1000000;
    if (limit.tv_nsec >= 1000000000) {
        limit.tv_sec++;
        limit.tv_nsec -= 1000000000;
    }
    return limit;
}

/* Whether it comes true in time. */
#define COMES_TRUE(condition, ms, result)                                                \
    do {                                                                                 \
        struct timespec limit = after_ms(ms);                                            \
        int waited = 0;                                                                  \
        pthread_mutex_lock(&records_mutex);                                              \
        while (!(condition) && waited == 0) {                                            \
            waited = pthread_cond_timedwait(&records_changed, &records_mutex, &limit);   \
        }                                                                                \
        (result) = (condition);                                                          \
        pthread_mutex_unlock(&records_mutex);                                            \
    } while (0)

#define WAIT_FOR(condition)                                                              \
    do {                                                                                 \
        bool has_come;                                                                   \
        COMES_TRUE(condition, WAIT_SECONDS * 1000, has_come);                            \
        if (!has_come) {                                                                 \
            fail_msg("%s:%d: not within %d s: %s", __FILE__, __LINE__, WAIT_SECONDS,     \
                     #condition);                                                        \
        }                                                                                \
    } while (0)

/* Does it again and again until the condition holds. */
#define REPEAT_UNTIL(act, condition)                                                     \
    do {                                                                                 \
        bool has_come = false;                                                           \
        for (int tries = 0; !has_come && tries < WAIT_SECONDS * 1000 / AGAIN_MS;         \
             tries++) {                                                                  \
            act;                                                                         \
            COMES_TRUE(condition, AGAIN_MS, has_come);                                   \
        }                                                                                \
        if (!has_come) {                                                                 \
            fail_msg("%s:%d: did not come true: %s", __FILE__, __LINE__, #condition);    \
        }                                                                                \
    } while (0)

static void start(struct talker *talker, const struct scheme *scheme, const char *name) {
    static const struct momi_gossip_callbacks callbacks = {.received = on_received,
                                                           .asked = on_asked,
                                                           .answered = on_answered,
                                                           .survey_ended =
                                                               on_survey_ended};
    static unsigned count;
    char bus[MOMI_ADDRESS_BYTES_MAX] = "tcp://127.0.0.1:0";
    char survey[MOMI_ADDRESS_BYTES_MAX] = "tcp://127.0.0.1:0";
    if (scheme->is_ipc) {
        snprintf(bus, sizeof bus, "ipc://%s/bus%u", ipc_folder, count);
        snprintf(survey, sizeof survey, "ipc://%s/survey%u", ipc_folder, count++);
    }
    memset(talker, 0, sizeof *talker);
    talker->name = name;
    CHECK_OK(momi_gossip_open(&talker->gossip, &callbacks, talker));
    CHECK_OK(momi_gossip_listen(talker->gossip, bus, survey, talker->bus, talker->survey,
                                sizeof talker->bus));
}

static void stop(struct talker *talker) {
    CHECK_OK(momi_gossip_close(talker->gossip, CLOSE_MS));
    CHECK_EQ(talker->late, 0);
    CHECK_EQ(talker->wrong_answers, 0);
}

static void say(struct talker *talker, const char *text) {
    CHECK_OK(momi_gossip_publish(talker->gossip, momi_slice_str(text)));
}

static void ask(struct talker *talker, uint8_t token, uint32_t timeout_ms) {
    CHECK_OK(momi_gossip_ask(talker->gossip, token, momi_slice(&token, 1), timeout_ms));
}

/* Until both directions of the bus and of the surveys have carried something. */
static void acquaint(struct talker *a, struct talker *b) {
    CHECK_OK(momi_gossip_connect_bus(a->gossip, b->bus));
    CHECK_OK(momi_gossip_connect_survey(a->gossip, b->survey));
    CHECK_OK(momi_gossip_connect_survey(b->gossip, a->survey));
    REPEAT_UNTIL(say(a, "hello"), strcmp(b->last_text, "hello") == 0);
    REPEAT_UNTIL(say(b, "hello"), strcmp(a->last_text, "hello") == 0);
    pthread_mutex_lock(&records_mutex);
    uint64_t a_asked = a->asked;
    uint64_t b_asked = b->asked;
    pthread_mutex_unlock(&records_mutex);
    for (int side = 0; side < 2; side++) {
        struct talker *asking = side == 0 ? a : b;
        for (;;) {
            pthread_mutex_lock(&records_mutex);
            bool is_done = side == 0 ? b->asked > b_asked : a->asked > a_asked;
            asking->ended[0] = 0; /* its next survey may be answered again */
            pthread_mutex_unlock(&records_mutex);
            if (is_done) {
                break;
            }
            ask(asking, 0, AGAIN_MS);
            WAIT_FOR(asking->ended[0] == 1);
        }
    }
}

/* ---- tests ---- */

static void datagram_reaches_all_peers_once(void **state) {
    struct talker a;
    struct talker b;
    struct talker c;
    start(&a, *state, "a");
    start(&b, *state, "b");
    start(&c, *state, "c");
    acquaint(&a, &b);
    acquaint(&a, &c);
    pthread_mutex_lock(&records_mutex);
    uint64_t b_before = b.datagrams;
    uint64_t c_before = c.datagrams;
    uint64_t a_before = a.datagrams;
    pthread_mutex_unlock(&records_mutex);
    /* One at a time the bus does not drop. */
    say(&a, "news");
    WAIT_FOR(strcmp(b.last_text, "news") == 0 && strcmp(c.last_text, "news") == 0);
    CHECK_EQ(b.datagrams, b_before + 1);
    CHECK_EQ(c.datagrams, c_before + 1);
    CHECK_EQ(a.datagrams, a_before);
    struct momi_gossip_stats stats;
    momi_gossip_stats(b.gossip, &stats);
    CHECK_EQ(stats.datagrams_in, b_before + 1);
    stop(&a);
    stop(&b);
    stop(&c);
}

static void survey_collects_answers_until_its_deadline(void **state) {
    struct talker a;
    struct talker b;
    struct talker c;
    struct talker silent;
    start(&a, *state, "a");
    start(&b, *state, "b");
    start(&c, *state, "c");
    start(&silent, *state, NULL);
    acquaint(&a, &b);
    acquaint(&a, &c);
    acquaint(&a, &silent);
    /* Several at once, each with its own answers. */
    for (uint8_t token = 1; token <= 8; token++) {
        ask(&a, token, SURVEY_MS);
    }
    for (uint8_t token = 1; token <= 8; token++) {
        WAIT_FOR(a.ended[token] == 1);
        CHECK_EQ(a.answers[token], 2);
    }
    CHECK(silent.asked >= 8);
    stop(&a);
    stop(&b);
    stop(&c);
    stop(&silent);
}

static void survey_without_peers_ends(void **state) {
    struct talker a;
    start(&a, *state, "a");
    ask(&a, 1, SURVEY_MS);
    WAIT_FOR(a.ended[1] == 1);
    CHECK_EQ(a.answers[1], 0);
    stop(&a);
}

static void closing_ends_the_surveys(void **state) {
    struct talker a;
    struct talker b;
    start(&a, *state, "a");
    start(&b, *state, NULL);
    acquaint(&a, &b);
    for (uint8_t token = 1; token <= MOMI_GOSSIP_SURVEYS_MAX; token++) {
        ask(&a, token, 3600 * 1000);
    }
    uint8_t one_more = 40;
    CHECK_ERR(momi_gossip_ask(a.gossip, 40, momi_slice(&one_more, 1), SURVEY_MS),
              MOM_FULL);
    stop(&a);
    for (uint8_t token = 1; token <= MOMI_GOSSIP_SURVEYS_MAX; token++) {
        CHECK_EQ(a.ended[token], 1);
    }
    CHECK_EQ(a.ended[one_more], 0);
    stop(&b);
}

static void sizes_have_a_limit(void **state) {
    static uint8_t bytes[MOMI_GOSSIP_BYTES_MAX + 1];
    struct talker a;
    struct talker b;
    start(&a, *state, "a");
    start(&b, *state, "b");
    acquaint(&a, &b);
    struct momi_slice most = momi_slice(bytes, MOMI_GOSSIP_BYTES_MAX);
    struct momi_slice too_much = momi_slice(bytes, sizeof bytes);
    memset(bytes, 1, sizeof bytes);
    CHECK_ERR(momi_gossip_publish(a.gossip, too_much), MOM_TOO_BIG);
    CHECK_ERR(momi_gossip_ask(a.gossip, 1, too_much, SURVEY_MS), MOM_TOO_BIG);
    CHECK_ERR(momi_gossip_ask(a.gossip, 1, most, 0), MOM_INVALID);
    CHECK_OK(momi_gossip_publish(a.gossip, most));
    WAIT_FOR(b.last_size == MOMI_GOSSIP_BYTES_MAX);
    /* The largest answer arrives, a larger one is not sent. */
    pthread_mutex_lock(&records_mutex);
    b.answer_size = MOMI_GOSSIP_BYTES_MAX;
    pthread_mutex_unlock(&records_mutex);
    ask(&a, 2, SURVEY_MS);
    WAIT_FOR(a.ended[2] == 1);
    CHECK_EQ(a.answers[2], 1);
    pthread_mutex_lock(&records_mutex);
    b.answer_size = MOMI_GOSSIP_BYTES_MAX + 1;
    pthread_mutex_unlock(&records_mutex);
    ask(&a, 3, SURVEY_MS);
    WAIT_FOR(a.ended[3] == 1);
    CHECK_EQ(a.answers[3], 0);
    stop(&a);
    stop(&b);
}

static void addresses_are_checked(void **state) {
    struct talker a;
    struct talker b;
    char bus[MOMI_ADDRESS_BYTES_MAX];
    char survey[MOMI_ADDRESS_BYTES_MAX];
    start(&a, *state, "a");
    CHECK_ERR(momi_gossip_listen(a.gossip, a.bus, a.survey, bus, survey, sizeof bus),
              MOM_CONFLICT);
    memset(&b, 0, sizeof b);
    static const struct momi_gossip_callbacks callbacks = {.received = on_received,
                                                           .asked = on_asked,
                                                           .answered = on_answered,
                                                           .survey_ended =
                                                               on_survey_ended};
    CHECK_OK(momi_gossip_open(&b.gossip, &callbacks, &b));
    CHECK_ERR(momi_gossip_listen(b.gossip, a.bus, a.survey, bus, survey, sizeof bus),
              MOM_CONFLICT);
    CHECK_ERR(momi_gossip_listen(b.gossip, "tcp://127.0.0.1:0", a.survey, bus, survey,
                                 sizeof bus),
              MOM_CONFLICT);
    CHECK_ERR(momi_gossip_listen(b.gossip, "nonsense", a.survey, bus, survey, sizeof bus),
              MOM_INVALID);
    CHECK_OK(momi_gossip_listen(b.gossip, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", b.bus,
                                b.survey, sizeof b.bus));
    CHECK_ERR(momi_gossip_connect_bus(a.gossip, "tcp://127.0.0.1:0"), MOM_INVALID);
    CHECK_ERR(momi_gossip_connect_survey(a.gossip, NULL), MOM_INVALID);
    CHECK_OK(momi_gossip_connect_bus(a.gossip, b.bus));
    CHECK_ERR(momi_gossip_connect_bus(a.gossip, b.bus), MOM_EXISTS);
    CHECK_ERR(momi_gossip_disconnect(a.gossip, b.survey), MOM_NOT_FOUND);
    stop(&a);
    stop(&b);
}

static void peer_comes_back_at_its_address_or_another(void **state) {
    struct talker a;
    struct talker b;
    start(&a, *state, "a");
    start(&b, *state, "b");
    acquaint(&a, &b);
    char bus[MOMI_ADDRESS_BYTES_MAX];
    char survey[MOMI_ADDRESS_BYTES_MAX];
    memcpy(bus, b.bus, sizeof bus);
    memcpy(survey, b.survey, sizeof survey);
    stop(&b);
    /* At its address: the dialler finds it by itself. */
    static const struct momi_gossip_callbacks callbacks = {.received = on_received,
                                                           .asked = on_asked,
                                                           .answered = on_answered,
                                                           .survey_ended =
                                                               on_survey_ended};
    memset(&b, 0, sizeof b);
    b.name = "b";
    CHECK_OK(momi_gossip_open(&b.gossip, &callbacks, &b));
    CHECK_OK(momi_gossip_listen(b.gossip, bus, survey, b.bus, b.survey, sizeof b.bus));
    REPEAT_UNTIL(say(&a, "again"), strcmp(b.last_text, "again") == 0);
    stop(&b);
    CHECK_OK(momi_gossip_disconnect(a.gossip, bus));
    CHECK_OK(momi_gossip_disconnect(a.gossip, survey));
    CHECK_ERR(momi_gossip_disconnect(a.gossip, survey), MOM_NOT_FOUND);
    start(&b, *state, "b");
    acquaint(&a, &b);
    stop(&a);
    stop(&b);
}

static int raw_connect(const char *address) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_OK(connect(fd, (const struct sockaddr *)&to, sizeof to));
    return fd;
}

static void garbage_and_oversize_do_no_harm(void **state) {
    struct talker a;
    struct talker b;
    struct momi_rng rng;
    momi_rng_seed(&rng, 11);
    start(&a, *state, "a");
    start(&b, *state, "b");
    acquaint(&a, &b);
    for (int round = 0; round < 60; round++) {
        int fd = raw_connect(round % 2 == 0 ? a.bus : a.survey);
        uint8_t bytes[200];
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)momi_rng_next(&rng);
        }
        if (round % 3 != 0) {
            /* The handshake of a true peer (bus 0x70, surveyor 0x62), then a length far
             * over the limit, or a message without the header that its protocol needs. */
            const uint8_t hello[8] = {0, 'S', 'P', 0, 0, round % 2 == 0 ? 0x70 : 0x62,
                                      0, 0};
            memcpy(bytes, hello, sizeof hello);
            memset(bytes + 8, 0, 8);
            bytes[round % 3 == 1 ? 11 : 15] = 100;
        }
        CHECK_EQ(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
        if (round % 3 == 1) {
            char byte;
            while (recv(fd, &byte, 1, 0) > 0) { /* until it hangs up on us */
            }
        }
        close(fd);
    }
    say(&a, "still there");
    WAIT_FOR(strcmp(b.last_text, "still there") == 0);
    ask(&b, 1, SURVEY_MS);
    WAIT_FOR(b.ended[1] == 1);
    CHECK_EQ(b.answers[1], 1);
    stop(&a);
    stop(&b);
}

static void closing_returns_under_traffic_time_after_time(void **state) {
    for (int cycle = 0; cycle < 15; cycle++) {
        struct talker a;
        struct talker b;
        start(&a, *state, "a");
        start(&b, *state, "b");
        acquaint(&a, &b);
        for (int i = 0; i < 50; i++) {
            int error = momi_gossip_publish(a.gossip, momi_slice_str("burst"));
            CHECK(error == MOM_OK || error == MOM_FULL);
            error = momi_gossip_publish(b.gossip, momi_slice_str("burst"));
            CHECK(error == MOM_OK || error == MOM_FULL);
        }
        ask(&a, 1, SURVEY_MS);
        ask(&b, 1, SURVEY_MS);
        stop(cycle % 2 == 0 ? &a : &b);
        stop(cycle % 2 == 0 ? &b : &a);
        CHECK_EQ(a.ended[1], 1);
        CHECK_EQ(b.ended[1], 1);
    }
}

static void failing_allocations_are_survived(void **state) {
    static const struct momi_gossip_callbacks callbacks = {.received = on_received,
                                                           .asked = on_asked,
                                                           .answered = on_answered,
                                                           .survey_ended =
                                                               on_survey_ended};
    struct talker a;
    struct momi_gossip *gossip = NULL;
    uint8_t token = 1;
    momi_mem_fail_after(0, false);
    CHECK_ERR(momi_gossip_open(&gossip, &callbacks, &a), MOM_NO_MEMORY);
    momi_mem_fail_after(-1, false);
    start(&a, *state, "a");
    momi_mem_fail_after(0, false);
    CHECK_ERR(momi_gossip_connect_bus(a.gossip, "tcp://127.0.0.1:1"), MOM_NO_MEMORY);
    momi_mem_fail_after(0, false);
    CHECK_ERR(momi_gossip_ask(a.gossip, 1, momi_slice(&token, 1), SURVEY_MS),
              MOM_NO_MEMORY);
    momi_mem_fail_after(-1, false);
    ask(&a, 2, SURVEY_MS);
    WAIT_FOR(a.ended[2] == 1);
    CHECK_EQ(a.ended[1], 0);
    stop(&a);
}

#define OVER(name, scheme)                                                               \
    { #name " (" #scheme ")", name, note_memory, check_memory, &scheme }
#define OVER_BOTH(name) OVER(name, over_tcp), OVER(name, over_ipc)

int main(void) {
    const struct CMUnitTest tests[] = {
        OVER_BOTH(datagram_reaches_all_peers_once),
        OVER_BOTH(survey_collects_answers_until_its_deadline),
        OVER_BOTH(survey_without_peers_ends),
        OVER_BOTH(closing_ends_the_surveys),
        OVER_BOTH(sizes_have_a_limit),
        OVER_BOTH(addresses_are_checked),
        OVER_BOTH(peer_comes_back_at_its_address_or_another),
        OVER(garbage_and_oversize_do_no_harm, over_tcp),
        OVER_BOTH(closing_returns_under_traffic_time_after_time),
        OVER_BOTH(failing_allocations_are_survived),
    };
    if (mkdtemp(ipc_folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(ipc_folder);
    return failed;
}

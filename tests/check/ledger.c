/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: see ledger.h. What a record is about is found with one look-up in a table
 * for each of its parts; everything else is lists by number.
 */
#include "check/ledger.h"

#include "check/memory.h"

#include <mom/error.h>
#include <string.h>

enum { NUMBERS_SKIPPED_MAX = 1 << 20 };

struct check_open_call {
    struct check_record record;
    uint64_t step;
    uint32_t next_free; /* number + 1 */
};

enum check_outcome check_outcome_of(int16_t result) {
    return result == MOM_OK                ? CHECK_OUTCOME_OK
           : result == MOM_UNKNOWN_OUTCOME ? CHECK_OUTCOME_UNKNOWN
                                           : CHECK_OUTCOME_REFUSED;
}

struct check_ledger *check_ledger_new(struct check_names *names,
                                      struct check_violations *violations) {
    struct check_ledger *ledger = check_calloc(1, sizeof *ledger);
    ledger->names = names;
    ledger->violations = violations;
    return ledger;
}

void check_ledger_free(struct check_ledger *ledger) {
    for (uint32_t i = 0; i < ledger->publishers_count; i++) {
        check_free(ledger->publishers[i].messages);
    }
    check_free(ledger->streams);
    check_free(ledger->groups);
    check_free(ledger->messages);
    check_free(ledger->copies);
    check_free(ledger->readers);
    check_free(ledger->publishers);
    check_free(ledger->calls);
    check_table_free(&ledger->stream_numbers);
    check_table_free(&ledger->group_numbers);
    check_table_free(&ledger->reader_numbers);
    check_table_free(&ledger->publisher_numbers);
    check_table_free(&ledger->call_numbers);
    check_free(ledger);
}

/* --- streams and groups ----------------------------------------------------------- */

static uint32_t group_of(struct check_ledger *ledger, uint32_t stream,
                         uint32_t subscription);

/* The group whose dead letters a stream of this name holds. */
static uint32_t dead_of(struct check_ledger *ledger, uint32_t name);

static uint32_t stream_of(struct check_ledger *ledger, uint32_t name) {
    uint64_t *found = check_table_put(&ledger->stream_numbers, name, 0);
    if (*found != 0) {
        return (uint32_t)*found - 1;
    }
    uint32_t number = ledger->streams_count++;
    *found = number + 1;
    ledger->streams = check_grow(ledger->streams, number, &ledger->streams_room,
                                 sizeof *ledger->streams);
    ledger->streams[number] = (struct check_stream){
        .number = number, .name = name, .dead_of = CHECK_NONE, .first_group = CHECK_NONE};
    uint32_t dead = dead_of(ledger, name); /* may make other streams */
    ledger->streams[number].dead_of = dead;
    if (dead != CHECK_NONE) {
        ledger->groups[dead].dead_stream = number;
    }
    return number;
}

static uint32_t group_of(struct check_ledger *ledger, uint32_t stream,
                         uint32_t subscription) {
    uint64_t *found = check_table_put(&ledger->group_numbers, stream, subscription);
    if (*found != 0) {
        return (uint32_t)*found - 1;
    }
    uint32_t number = ledger->groups_count++;
    *found = number + 1;
    ledger->groups =
        check_grow(ledger->groups, number, &ledger->groups_room, sizeof *ledger->groups);
    ledger->groups[number] =
        (struct check_group){.number = number,
                             .stream = stream,
                             .subscription = subscription,
                             .wants_from = subscription == 0 ? 0 : UINT64_MAX,
                             .dead_stream = CHECK_NONE,
                             .next = ledger->streams[stream].first_group};
    ledger->streams[stream].first_group = number;
    ledger->streams[stream].is_topic |= subscription != 0;
    return number;
}

static uint32_t dead_of(struct check_ledger *ledger, uint32_t name) {
    static const char queue[] = "$dead/queue/";
    static const char topic[] = "$dead/topic/";
    const char *text = check_name_text(ledger->names, name);
    const char *rest = text + sizeof queue - 1;
    if (strncmp(text, queue, sizeof queue - 1) == 0) {
        uint32_t stream = stream_of(ledger, check_name_str(ledger->names, rest));
        return group_of(ledger, stream, 0);
    }
    const char *slash = strrchr(text, '/');
    if (strncmp(text, topic, sizeof topic - 1) != 0 || slash < rest) {
        return CHECK_NONE;
    }
    uint32_t stream =
        stream_of(ledger, check_name(ledger->names, rest, (size_t)(slash - rest)));
    return group_of(ledger, stream, check_name_str(ledger->names, slash + 1));
}

/* --- messages --------------------------------------------------------------------- */

static struct check_publisher *publisher_of(struct check_ledger *ledger, uint32_t id) {
    uint64_t *found = check_table_put(&ledger->publisher_numbers, id, 0);
    if (*found == 0) {
        uint32_t number = ledger->publishers_count++;
        *found = number + 1;
        ledger->publishers =
            check_grow(ledger->publishers, number, &ledger->publishers_room,
                       sizeof *ledger->publishers);
        ledger->publishers[number] = (struct check_publisher){.publisher = id};
    }
    return &ledger->publishers[*found - 1];
}

static struct check_message *find_message(const struct check_ledger *ledger,
                                          uint32_t publisher, uint32_t message) {
    uint64_t found = check_table_find(&ledger->publisher_numbers, publisher, 0);
    if (found == 0) {
        return NULL;
    }
    const struct check_publisher *own = &ledger->publishers[found - 1];
    if (message >= own->count || own->messages[message] == 0) {
        return NULL;
    }
    return &ledger->messages[own->messages[message] - 1];
}

/* NULL: the publisher has used the number, or a higher one, before. */
static struct check_message *add_message(struct check_ledger *ledger,
                                         const struct check_record *record) {
    struct check_publisher *publisher = publisher_of(ledger, record->publisher);
    if (record->message < publisher->count ||
        record->message - publisher->count > NUMBERS_SKIPPED_MAX) {
        return NULL;
    }
    uint32_t number = ledger->messages_count++;
    ledger->messages = check_grow(ledger->messages, number, &ledger->messages_room,
                                  sizeof *ledger->messages);
    publisher->messages = check_grow_to(publisher->messages, record->message,
                                        &publisher->room, sizeof *publisher->messages);
    publisher->messages[record->message] = number + 1;
    publisher->count = record->message + 1;
    struct check_message *message = &ledger->messages[number];
    *message = (struct check_message){.number = number,
                                      .publisher = record->publisher,
                                      .message = record->message,
                                      .stream = stream_of(ledger, record->stream),
                                      .key = record->key,
                                      .life = record->life,
                                      .digest = record->digest,
                                      .called = ledger->steps,
                                      .first_copy = CHECK_NONE};
    return message;
}

struct check_copy *check_ledger_copy(const struct check_ledger *ledger,
                                     const struct check_message *message,
                                     uint32_t group) {
    for (uint32_t i = message->first_copy; i != CHECK_NONE; i = ledger->copies[i].next) {
        if (ledger->copies[i].group == group) {
            return &ledger->copies[i];
        }
    }
    return NULL;
}

static struct check_copy *copy_of(struct check_ledger *ledger,
                                  struct check_message *message, uint32_t group) {
    struct check_copy *found = check_ledger_copy(ledger, message, group);
    if (found != NULL) {
        return found;
    }
    uint32_t number = ledger->copies_count++;
    ledger->copies =
        check_grow(ledger->copies, number, &ledger->copies_room, sizeof *ledger->copies);
    ledger->copies[number] = (struct check_copy){.number = number,
                                                 .message = message->number,
                                                 .group = group,
                                                 .next = message->first_copy};
    message->first_copy = number;
    return &ledger->copies[number];
}

static struct check_reader *reader_of(struct check_ledger *ledger,
                                      const struct check_record *record, uint32_t group) {
    uint64_t *found =
        check_table_put(&ledger->reader_numbers, record->process, record->consumer);
    if (*found == 0) {
        uint32_t number = ledger->readers_count++;
        *found = number + 1;
        ledger->readers = check_grow(ledger->readers, number, &ledger->readers_room,
                                     sizeof *ledger->readers);
        ledger->readers[number] = (struct check_reader){
            .number = number, .process = record->process, .group = group};
    }
    return &ledger->readers[*found - 1];
}

/* --- questions -------------------------------------------------------------------- */

bool check_ledger_faulty(const struct check_ledger *ledger, uint64_t since_ns) {
    return ledger->faults_open > 0 ||
           (ledger->had_faults && ledger->faults_end_ns >= since_ns);
}

bool check_ledger_may_be_removed(const struct check_ledger *ledger,
                                 const struct check_message *message) {
    const struct check_stream *stream = &ledger->streams[message->stream];
    return stream->removals_open > 0 || message->called < stream->removed_until;
}

bool check_ledger_may_want(const struct check_ledger *ledger,
                           const struct check_group *group,
                           const struct check_message *message) {
    bool is_readable =
        group->subscription != 0 || !ledger->streams[group->stream].is_topic;
    return message->stream == group->stream && is_readable &&
           (group->filter == 0 ||
            check_filter_matches(check_name_text(ledger->names, group->filter),
                                 check_name_text(ledger->names, message->key)));
}

bool check_ledger_wants(const struct check_ledger *ledger,
                        const struct check_group *group,
                        const struct check_message *message) {
    return !group->is_removed && group->wants_from < message->called &&
           check_ledger_may_want(ledger, group, message);
}

const char *check_group_text(const struct check_ledger *ledger, uint32_t group) {
    static char texts[4][200];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    const struct check_group *own = &ledger->groups[group];
    const char *stream =
        check_name_text(ledger->names, ledger->streams[own->stream].name);
    const char *subscription = check_name_text(ledger->names, own->subscription);
    (void)snprintf(text, sizeof texts[0], "%s%s%s", stream,
                   own->subscription == 0 ? "" : "/", subscription);
    return text;
}

/* --- calls ------------------------------------------------------------------------ */

static bool open_call(struct check_ledger *ledger, const struct check_record *record) {
    uint64_t *found = check_table_put(&ledger->call_numbers, record->process, record->op);
    if (*found != 0) {
        return false;
    }
    uint32_t number = ledger->calls_free;
    if (number > 0) {
        ledger->calls_free = ledger->calls[--number].next_free;
    } else {
        number = ledger->calls_count++;
        ledger->calls =
            check_grow(ledger->calls, number, &ledger->calls_room, sizeof *ledger->calls);
    }
    *found = number + 1;
    ledger->calls[number].record = *record;
    ledger->calls[number].step = ledger->steps;
    return true;
}

/* The slot stays as it is until the next call is opened. NULL: there is no such call. */
static const struct check_open_call *end_call(struct check_ledger *ledger,
                                              const struct check_record *record) {
    uint64_t found = check_table_take(&ledger->call_numbers, record->process, record->op);
    if (found == 0 || ledger->calls[found - 1].record.kind != record->kind) {
        return NULL;
    }
    struct check_open_call *call = &ledger->calls[found - 1];
    call->next_free = ledger->calls_free;
    ledger->calls_free = (uint32_t)found;
    return call;
}

/* --- a step ----------------------------------------------------------------------- */

static bool is_about_message(uint8_t kind) {
    return kind == CHECK_PUBLISH || kind == CHECK_ACK || kind == CHECK_NACK ||
           kind == CHECK_REJECT || kind == CHECK_EXTEND || kind == CHECK_ARRIVE ||
           kind == CHECK_DELIVER;
}

static bool has_reader(uint8_t kind) {
    return kind == CHECK_OPEN || kind == CHECK_CLOSE || kind == CHECK_END ||
           (is_about_message(kind) && kind != CHECK_PUBLISH);
}

/* Numbers first: what they stand for may move while others are made. */
static bool find_parts(struct check_ledger *ledger, struct check_step *step) {
    const struct check_record *about = step->about;
    if (about->stream == 0) {
        return true;
    }
    uint32_t stream = stream_of(ledger, about->stream);
    uint32_t group = group_of(ledger, stream, about->subscription);
    if (has_reader(about->kind)) {
        step->reader = reader_of(ledger, about, group);
    }
    if (check_step_is(step, CHECK_PUBLISH, CHECK_CALL)) {
        step->message = add_message(ledger, about);
        if (step->message == NULL) {
            check_report(ledger, "history", NULL,
                         "publisher %u uses number %u, which is not the next",
                         about->publisher, about->message);
            return false;
        }
    } else if (is_about_message(about->kind)) {
        step->message = find_message(ledger, about->publisher, about->message);
    }
    if (step->message != NULL && step->reader != NULL) {
        step->copy = copy_of(ledger, step->message, group);
    }
    step->stream = &ledger->streams[stream];
    step->group = &ledger->groups[group];
    return true;
}

bool check_ledger_step(struct check_ledger *ledger, const struct check_record *record,
                       struct check_step *step) {
    *step = (struct check_step){
        .ledger = ledger, .number = ++ledger->steps, .record = record, .about = record};
    if (record->phase == CHECK_CALL && !open_call(ledger, record)) {
        check_report(ledger, "history", NULL, "process %u makes call %llu twice",
                     record->process, (unsigned long long)record->op);
        return false;
    }
    if (record->phase == CHECK_DONE) {
        const struct check_open_call *call = end_call(ledger, record);
        if (call == NULL) {
            check_report(ledger, "history", NULL,
                         "process %u: call %llu (%s) is done twice, or was never made",
                         record->process, (unsigned long long)record->op,
                         check_kind_name((enum check_kind)record->kind));
            return false;
        }
        step->about = &call->record;
        step->called = call->step;
        step->outcome = check_outcome_of(record->result);
    }
    return find_parts(ledger, step);
}

/* --- what it changes -------------------------------------------------------------- */

static void removal(const struct check_step *step) {
    struct check_stream *stream = step->stream;
    if (step->record->phase == CHECK_CALL) {
        stream->removals_open++;
    } else if (step->outcome !=
               CHECK_OUTCOME_UNKNOWN) { /* else it may come at any time */
        stream->removals_open--;
    }
    if (step->outcome == CHECK_OUTCOME_OK && step->record->phase == CHECK_DONE) {
        stream->removed_until = step->number;
        if (step->record->kind == CHECK_DELETE) {
            stream->delete_called = step->called;
            stream->delete_done = step->number;
        }
    }
}

static void subscribed(const struct check_step *step) {
    struct check_group *group = step->group;
    if (step->record->phase == CHECK_CALL) {
        group->filter = step->about->filter;
    } else if (step->outcome == CHECK_OUTCOME_OK || step->record->result == MOM_EXISTS) {
        uint64_t from = step->about->from == CHECK_FROM_FIRST ? 0 : step->number;
        group->wants_from = from < group->wants_from ? from : group->wants_from;
    }
}

static void published(const struct check_step *step) {
    struct check_message *message = step->message;
    message->outcome = step->outcome;
    if (step->outcome == CHECK_OUTCOME_OK) {
        message->known = message->known == 0 ? step->number : message->known;
        if (step->record->sequence != 0) { /* not every call is told it */
            message->sequence = step->record->sequence;
        }
    }
}

static void came(const struct check_step *step) {
    struct check_message *message = step->message;
    if (message == NULL) {
        return;
    }
    message->known = message->known == 0 ? step->number : message->known;
    if (step->stream->number == message->stream && message->sequence == 0) {
        message->sequence = step->record->sequence;
    }
    if (step->reader->opened < step->stream->delete_done &&
        message->called > step->stream->delete_done) {
        /* Its stream was made anew meanwhile, and it goes on with that one. */
        step->reader->opened = step->number;
    }
}

static void died(struct check_ledger *ledger, uint64_t process) {
    for (uint32_t i = 0; i < ledger->readers_count; i++) {
        if (ledger->readers[i].process == process && ledger->readers[i].ended == 0) {
            ledger->readers[i].ended = ledger->steps;
        }
    }
}

static void fault(struct check_ledger *ledger, const struct check_record *record) {
    ledger->had_faults = true;
    if (record->phase == CHECK_CALL) {
        ledger->faults_open++;
    } else {
        ledger->faults_open--;
        ledger->faults_end_ns = record->time_ns;
    }
}

static void opened(const struct check_step *step) {
    if (step->record->phase == CHECK_CALL) {
        step->reader->opened = step->number;
        step->reader->ended = 0;
        step->reader->group = step->group->number;
    } else if (step->outcome == CHECK_OUTCOME_REFUSED) {
        step->reader->ended = step->number;
    } else if (step->outcome == CHECK_OUTCOME_OK) {
        step->group->is_read = true;
    }
}

void check_ledger_settle(struct check_ledger *ledger, const struct check_step *step) {
    const struct check_record *record = step->record;
    switch ((enum check_kind)record->kind) {
    case CHECK_CREATE:
        if (record->phase == CHECK_CALL) {
            step->stream->lease_ns = record->value * 1000000;
            step->stream->deliveries_max = record->deliveries;
        }
        break;
    case CHECK_DELETE:
    case CHECK_PURGE:
        removal(step);
        break;
    case CHECK_SUBSCRIBE:
        subscribed(step);
        break;
    case CHECK_UNSUBSCRIBE:
        step->group->is_removed =
            record->phase == CHECK_CALL || step->outcome != CHECK_OUTCOME_REFUSED;
        break;
    case CHECK_PUBLISH:
        if (record->phase == CHECK_DONE) {
            published(step);
        }
        break;
    case CHECK_OPEN:
        opened(step);
        break;
    case CHECK_CLOSE:
    case CHECK_END:
        step->reader->ended = step->number;
        break;
    case CHECK_ARRIVE:
    case CHECK_DELIVER:
        came(step);
        break;
    case CHECK_DEATH:
        died(ledger, record->value);
        break;
    case CHECK_FAULT:
        fault(ledger, record);
        break;
    case CHECK_DRAINED:
        step->group->is_drained = true;
        break;
    case CHECK_ABANDONED:
        step->group->is_removed = true;
        break;
    default:
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Records as text, and the merging of files. */
#include "t.h"

#include "check/history.h"

#include <mom/error.h>
#include <unistd.h>

static void one_line(const char *text, const char *expected_why) {
    struct check_names *names = check_names_new();
    struct check_record record;
    const char *why = NULL;
    int found = check_read(names, text, strlen(text), &record, &why);
    if (expected_why == NULL) {
        char again[CHECK_LINE_MAX];
        assert_int_equal(found, 1);
        size_t size = check_write(names, &record, again);
        CHECK_EQ(size, strlen(text) + 1);
        CHECK(again[size - 1] == '\n');
        again[size - 1] = 0;
        CHECK_STR(again, text);
    } else {
        assert_int_equal(found, -1);
        CHECK_STR(why, expected_why);
    }
    check_names_free(names);
}

static void every_kind_is_written_as_it_was_read(void **state) {
    (void)state;
    static const char *const lines[] = {
        "12 1 call create op=1 stream=jobs lease_ms=4000 deliveries=20 if_missing=1",
        "12 1 done create op=1 result=EXISTS",
        "0 1 call delete op=2 stream=jobs",
        "1 1 call subscribe op=3 stream=t sub=s0 filter=a.# from=first",
        "1 1 call unsubscribe op=3 stream=t sub=s0",
        "2 1 call describe op=4 stream=jobs",
        "3 1 done describe op=4 result=OK next=18446744073709551615",
        "3 1 call purge op=4 stream=jobs",
        "3 1 call publish op=5 stream=jobs pub=7 msg=41 key=a.b life=2 "
        "digest=ffffffffffffffff",
        "4 1 done publish op=5 result=OK seq=88",
        "4 1 done publish op=5 result=UNKNOWN_OUTCOME",
        "4 4294967295 call open op=6 stream=t sub=s0 consumer=3",
        "4 1 call close op=6 stream=t sub=s0 consumer=3",
        "5 1 call ack op=7 stream=jobs consumer=3 pub=7 msg=41 token=9",
        "5 1 call nack op=7 stream=jobs pub=0 msg=0",
        "5 1 call reject op=7 stream=jobs pub=0 msg=0",
        "5 1 call extend op=7 stream=jobs pub=0 msg=0",
        "5 1 saw arrive stream=jobs pub=0 msg=0 n=1",
        "6 1 saw deliver stream=$dead/topic/t/s0 pub=0 msg=0 seq=4 key=%20%25%7f "
        "digest=a1 n=2 re=1 token=5",
        "6 1 saw end stream=jobs consumer=3 result=NOT_FOUND",
        "6 1 saw hash shard=2 index=77 hash=0",
        "6 1 saw death of=4",
        "6 1 call fault op=1 what=kill",
        "6 1 done fault op=1",
        "7 1 saw drained stream=t sub=s0",
        "7 1 saw abandoned stream=t sub=s0",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        one_line(lines[i], NULL);
    }
}

static void wrong_lines_are_refused(void **state) {
    (void)state;
    one_line("x 1 saw death of=4", "no time");
    one_line("1", "no process");
    one_line("1 0 saw death of=4", "no process");
    one_line("1 4294967296 saw death of=4", "no process");
    one_line("1 1 see death of=4", "an unknown phase");
    one_line("1 1 saw birth of=4", "an unknown kind");
    one_line("1 1 call death of=4", "a kind that has no such phase");
    one_line("1 1 saw publish op=1", "a kind that has no such phase");
    one_line("1 1 saw death", "a field is missing");
    one_line("1 1 saw death of", "a word that is no FIELD=VALUE");
    one_line("1 1 saw death whose=4", "an unknown field");
    one_line("1 1 saw death of=4 op=1", "a field that this record does not have");
    one_line("1 1 saw death of=4 of=5", "a field twice");
    one_line("1 1 saw death of=18446744073709551616", "a value that cannot be read");
    one_line("1 1 saw death of=-1", "a value that cannot be read");
    one_line("1 1 saw death of=", "a value that cannot be read");
    one_line("1 1 done ack op=1 result=FINE", "a value that cannot be read");
    one_line("1 1 call delete op=1 stream=a%2", "a value that cannot be read");
    one_line("1 1 call delete op=1 stream=a%00", "a value that cannot be read");
    one_line("1 1 saw arrive stream=j pub=0 msg=0 re=2", "a value that cannot be read");
    one_line("1 1 call subscribe op=1 stream=t sub=s from=old",
             "a value that cannot be read");
}

static void names_too_long_for_a_line_are_cut(void **state) {
    (void)state;
    char text[3000];
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = 0;
    struct check_names *names = check_names_new();
    struct check_record record = {.kind = CHECK_DELETE,
                                  .phase = CHECK_CALL,
                                  .process = 1,
                                  .stream = check_name_str(names, text)};
    char line[CHECK_LINE_MAX];
    size_t size = check_write(names, &record, line);
    CHECK(size < CHECK_LINE_MAX);
    CHECK(line[size - 1] == '\n');
    CHECK_EQ(strlen(line), size);
    check_names_free(names);
}

/* --- files --- */

struct files {
    char path[2][64];
};

static void write_file(struct files *files, int which, const char *text) {
    (void)snprintf(files->path[which], sizeof files->path[which],
                   "/tmp/mom-test-history-XXXXXX");
    int fd = mkstemp(files->path[which]);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_OK(close(fd));
}

static void files_are_merged_by_time(void **state) {
    (void)state;
    struct files files;
    write_file(&files, 0,
               "# a comment\n\n5 1 call delete op=1 stream=a\n7 1 done delete op=1 "
               "result=OK\n9 1 saw drai");
    write_file(&files, 1,
               "4 2 saw death of=1\n7 2 call delete op=1 stream=a\n7 2 done "
               "delete op=1 result=OK\n");
    struct check_history history;
    check_history_init(&history);
    CHECK(check_history_load(&history, files.path[0], stderr));
    CHECK(check_history_load(&history, files.path[1], stderr));
    check_history_merge(&history);
    CHECK_EQ(history.count, 5);
    CHECK_EQ(history.torn, 1);
    /* The call of process 2 at 7 comes before what process 1 was told at 7. */
    static const uint32_t processes[] = {2, 1, 2, 1, 2};
    static const uint32_t lines[] = {1, 3, 2, 4, 3};
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(history.records[i].process, processes[i]);
        CHECK_EQ(history.records[i].line, lines[i]);
    }
    check_history_free(&history);
    CHECK_OK(unlink(files.path[0]));
    CHECK_OK(unlink(files.path[1]));
}

static void a_wrong_file_is_said_with_its_line(void **state) {
    (void)state;
    struct files files;
    write_file(&files, 0, "5 1 saw death of=1\n4 1 saw death of=1\n");
    char *text = NULL;
    size_t size = 0;
    FILE *complaints = open_memstream(&text, &size);
    struct check_history history;
    check_history_init(&history);
    CHECK(!check_history_load(&history, files.path[0], complaints));
    CHECK(!check_history_load(&history, "/nonexistent/history", complaints));
    CHECK_OK(fclose(complaints));
    CHECK(strstr(text, ":2: time went back: 4 1 saw death of=1") != NULL);
    CHECK(strstr(text, "/nonexistent/history: cannot be read") != NULL);
    free(text);
    check_history_free(&history);
    CHECK_OK(unlink(files.path[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_kind_is_written_as_it_was_read), TEST(wrong_lines_are_refused),
        TEST(names_too_long_for_a_line_are_cut),    TEST(files_are_merged_by_time),
        TEST(a_wrong_file_is_said_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

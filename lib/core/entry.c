/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries and commands: reading, walking, building, hollowing out. Records and publish
 * bodies are in entry_message.c.
 *
 * Nothing here trusts a size: the bytes may come from a peer or a disk. What is found is
 * borrowed from the input. Called by the shard (building, delivery, hollowing), by the
 * machine (apply), and by whoever checks what came in.
 */
#include "core/entry.h"

#include "base/assert.h"
#include "base/crc.h"

enum {
    ENTRY_AT_CRC = 0,
    ENTRY_AT_FORMAT = 4,
    ENTRY_AT_KIND = 5,
    ENTRY_AT_ZERO = 6,
    ENTRY_AT_TERM = 8,
    ENTRY_AT_ELAPSED = 16,
    ENTRY_AT_WALL = 24,
    ENTRY_AT_COMMANDS = 32,
    ENTRY_AT_SLOTS = 36,
    ENTRY_SUMMED_FROM = 4,
    COMMAND_AT_SIZE = 0,
    COMMAND_AT_TYPE = 4,
    COMMAND_AT_VERSION = 5,
    COMMAND_AT_FLAGS = 6,
    COMMAND_AT_SESSION_INDEX = 8,
    COMMAND_AT_SESSION_EPOCH = 16,
    COMMAND_AT_SESSION_PLACE = 20,
    COMMAND_AT_NUMBER = 24,
    COMMAND_AT_ANSWERED = 32,
    HOLLOW_ITEM_HEADER = 12, /* slot, publisher */
};

bool momi_entry_peek(struct momi_slice bytes, struct momi_entry *entry) {
    if (bytes.size < MOMI_ENTRY_HEADER || bytes.size > MOMI_ENTRY_BYTES_MAX) {
        return false;
    }
    const uint8_t *at = bytes.data;
    uint8_t kind = at[ENTRY_AT_KIND];
    if (at[ENTRY_AT_FORMAT] != MOMI_ENTRY_FORMAT || kind < MOMI_ENTRY_COMMANDS ||
        kind > MOMI_ENTRY_HOLLOW || momi_load_le16(at + ENTRY_AT_ZERO) != 0) {
        return false;
    }
    *entry = (struct momi_entry){
        .kind = (enum momi_entry_kind)kind,
        .term = momi_load_le64(at + ENTRY_AT_TERM),
        .elapsed_us = momi_load_le64(at + ENTRY_AT_ELAPSED),
        .wall_us = momi_load_le64(at + ENTRY_AT_WALL),
        .commands_count = momi_load_le32(at + ENTRY_AT_COMMANDS),
        .slots_count = momi_load_le32(at + ENTRY_AT_SLOTS),
        .body = momi_slice(at + MOMI_ENTRY_HEADER, bytes.size - MOMI_ENTRY_HEADER),
    };
    return true;
}

bool momi_entry_parse(struct momi_slice bytes, struct momi_entry *entry) {
    struct momi_entry found;
    if (!momi_entry_peek(bytes, &found)) {
        return false;
    }
    uint32_t crc =
        momi_crc32c(0, bytes.data + ENTRY_SUMMED_FROM, bytes.size - ENTRY_SUMMED_FROM);
    if (crc != momi_load_le32(bytes.data + ENTRY_AT_CRC)) {
        return false;
    }
    *entry = found;
    return true;
}

bool momi_command_next(struct momi_command_reader *reader, struct momi_command *command) {
    if (reader->failed || reader->left.size == 0) {
        return false;
    }
    const uint8_t *at = reader->left.data;
    size_t left = reader->left.size;
    uint32_t size = left < MOMI_COMMAND_HEADER ? 0 : momi_load_le32(at + COMMAND_AT_SIZE);
    if (size < MOMI_COMMAND_HEADER || size > left) {
        reader->failed = true;
        return false;
    }
    *command = (struct momi_command){
        .type = at[COMMAND_AT_TYPE],
        .version = at[COMMAND_AT_VERSION],
        .flags = momi_load_le16(at + COMMAND_AT_FLAGS),
        .session = {.index = momi_load_le64(at + COMMAND_AT_SESSION_INDEX),
                    .epoch = momi_load_le32(at + COMMAND_AT_SESSION_EPOCH),
                    .place = momi_load_le32(at + COMMAND_AT_SESSION_PLACE)},
        .number = momi_load_le64(at + COMMAND_AT_NUMBER),
        .answered = momi_load_le64(at + COMMAND_AT_ANSWERED),
        .whole = momi_slice(at, size),
        .body = momi_slice(at + MOMI_COMMAND_HEADER, size - MOMI_COMMAND_HEADER),
    };
    reader->left = momi_slice(at + size, left - size);
    return true;
}

size_t momi_command_begin(struct momi_bytes *out, uint8_t type,
                          struct momi_session_id session, uint64_t number,
                          uint64_t answered) {
    size_t offset = out->size;
    uint8_t header[MOMI_COMMAND_HEADER] = {0};
    header[COMMAND_AT_TYPE] = type;
    header[COMMAND_AT_VERSION] = MOMI_COMMAND_VERSION;
    momi_store_le64(header + COMMAND_AT_SESSION_INDEX, session.index);
    momi_store_le32(header + COMMAND_AT_SESSION_EPOCH, session.epoch);
    momi_store_le32(header + COMMAND_AT_SESSION_PLACE, session.place);
    momi_store_le64(header + COMMAND_AT_NUMBER, number);
    momi_store_le64(header + COMMAND_AT_ANSWERED, answered);
    momi_bytes_append(out, header, sizeof header);
    return offset;
}

void momi_command_finish(struct momi_bytes *out, size_t offset) {
    if (out->failed) {
        return;
    }
    MOMI_ASSERT(offset + MOMI_COMMAND_HEADER <= out->size);
    MOMI_ASSERT(out->size - offset <= UINT32_MAX);
    momi_store_le32(out->data + offset + COMMAND_AT_SIZE, (uint32_t)(out->size - offset));
}

static bool sums_are_right(struct momi_slice records, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        struct momi_record record;
        if (!momi_record_read(records, &record) || !momi_record_check(&record)) {
            return false;
        }
        records = momi_slice(records.data + record.whole.size,
                             records.size - record.whole.size);
    }
    return true;
}

bool momi_entry_slots(struct momi_slice commands, enum momi_sums sums,
                      uint32_t *commands_count, uint32_t *slots_count) {
    if (commands.size > MOMI_ENTRY_BYTES_MAX - MOMI_ENTRY_HEADER) {
        return false;
    }
    uint32_t count = 0;
    uint32_t slots = 0; /* at most one for each twelve bytes: no overflow */
    struct momi_command_reader reader = momi_command_reader(commands);
    struct momi_command command;
    while (momi_command_next(&reader, &command)) {
        if (command.version != MOMI_COMMAND_VERSION) {
            return false;
        }
        struct momi_publish publish;
        if (command.type == CMD_PUBLISH) {
            if (!momi_publish_parse(command.body, &publish) ||
                (sums == CHECK_SUMS && !sums_are_right(publish.records, publish.count))) {
                return false;
            }
            slots += publish.count;
        }
        count++;
    }
    if (reader.failed) {
        return false;
    }
    *commands_count = count;
    *slots_count = slots;
    return true;
}

static void write_entry_header(uint8_t *at, const struct momi_entry *entry) {
    memset(at, 0, MOMI_ENTRY_HEADER);
    at[ENTRY_AT_FORMAT] = MOMI_ENTRY_FORMAT;
    at[ENTRY_AT_KIND] = (uint8_t)entry->kind;
    momi_store_le64(at + ENTRY_AT_TERM, entry->term);
    momi_store_le64(at + ENTRY_AT_ELAPSED, entry->elapsed_us);
    momi_store_le64(at + ENTRY_AT_WALL, entry->wall_us);
    momi_store_le32(at + ENTRY_AT_COMMANDS, entry->commands_count);
    momi_store_le32(at + ENTRY_AT_SLOTS, entry->slots_count);
}

static void finish_entry(struct momi_buf *buf) {
    momi_store_le32(
        buf->data + ENTRY_AT_CRC,
        momi_crc32c(0, buf->data + ENTRY_SUMMED_FROM, buf->size - ENTRY_SUMMED_FROM));
}

struct momi_buf *momi_entry_build(enum momi_entry_kind kind, uint64_t term,
                                  uint64_t elapsed_us, uint64_t wall_us,
                                  uint32_t commands_count, uint32_t slots_count,
                                  const struct momi_slice *pieces, size_t pieces_count) {
    size_t size = MOMI_ENTRY_HEADER;
    for (size_t index = 0; index < pieces_count; index++) {
        size += pieces[index].size;
    }
    MOMI_ASSERT(size <= MOMI_ENTRY_BYTES_MAX);
    struct momi_buf *buf = momi_buf_new(size);
    if (buf == NULL) {
        return NULL;
    }
    write_entry_header(buf->data, &(struct momi_entry){.kind = kind,
                                                       .term = term,
                                                       .elapsed_us = elapsed_us,
                                                       .wall_us = wall_us,
                                                       .commands_count = commands_count,
                                                       .slots_count = slots_count});
    uint8_t *at = buf->data + MOMI_ENTRY_HEADER;
    for (size_t index = 0; index < pieces_count; index++) {
        if (pieces[index].size > 0) {
            memcpy(at, pieces[index].data, pieces[index].size);
            at += pieces[index].size;
        }
    }
    finish_entry(buf);
    return buf;
}

static struct momi_slice rest(struct momi_slice bytes, size_t offset) {
    return momi_slice(bytes.data + offset, bytes.size - offset);
}

/* Moves a cursor that stands before a command to the first record of the publish command
 * that holds `slot`. False: the entry ends before, or is malformed. The records of other
 * commands are not looked at: momi_entry_slots has seen them. */
static bool find_command(const struct momi_entry *entry, uint32_t slot,
                         struct momi_slot_cursor *cursor) {
    struct momi_command_reader reader =
        momi_command_reader(rest(entry->body, cursor->offset));
    struct momi_command command;
    while (momi_command_next(&reader, &command)) {
        struct momi_publish publish;
        if (command.type == CMD_PUBLISH && command.version == MOMI_COMMAND_VERSION &&
            momi_publish_peek(command.body, &publish)) {
            if (slot - cursor->slot < publish.count) {
                cursor->end = cursor->offset + command.whole.size;
                cursor->offset = (size_t)(publish.records.data - entry->body.data);
                cursor->left = publish.count;
                cursor->publisher = publish.publisher;
                return true;
            }
            cursor->slot += publish.count;
        }
        cursor->offset += command.whole.size;
    }
    return false;
}

/* Passes over one record, which is given back; over the last one to the next command. */
static bool take_record(const struct momi_entry *entry, struct momi_slot_cursor *cursor,
                        struct momi_record *record) {
    struct momi_slice left =
        momi_slice(entry->body.data + cursor->offset, cursor->end - cursor->offset);
    if (!momi_record_read(left, record)) {
        return false;
    }
    cursor->left--;
    cursor->slot++;
    cursor->offset =
        cursor->left == 0 ? cursor->end : cursor->offset + record->whole.size;
    return true;
}

static bool whole_record(const struct momi_entry *entry, uint32_t slot,
                         struct momi_slot_cursor *cursor, struct momi_record *record) {
    if (slot < cursor->slot) {
        *cursor = (struct momi_slot_cursor){.started = true};
    }
    /* The rest of a command's records is walked: it is at most MOMI_COMMAND_MESSAGES_MAX.
     */
    struct momi_record found;
    for (;;) {
        if (cursor->left == 0 && !find_command(entry, slot, cursor)) {
            return false;
        }
        bool is_last = cursor->slot == slot;
        if (!take_record(entry, cursor, &found)) {
            return false;
        }
        if (is_last) {
            *record = found;
            return true;
        }
    }
}

/* The next item of a hollow entry; false at its end, or when it is malformed. */
static bool hollow_next(const struct momi_entry *entry, struct momi_slot_cursor *cursor,
                        uint32_t *slot, struct momi_record *record) {
    struct momi_slice left = rest(entry->body, cursor->offset);
    if (left.size < HOLLOW_ITEM_HEADER ||
        !momi_record_read(rest(left, HOLLOW_ITEM_HEADER), record)) {
        return false;
    }
    *slot = momi_load_le32(left.data);
    if (*slot < cursor->slot || *slot >= entry->slots_count) {
        return false; /* slots rise, each at most once */
    }
    cursor->publisher = momi_load_le64(left.data + 4);
    cursor->offset += HOLLOW_ITEM_HEADER + record->whole.size;
    cursor->slot = *slot + 1;
    return true;
}

/* In a hollow entry the cursor's slot is the least that can come at its offset. */
static bool hollow_record(const struct momi_entry *entry, uint32_t slot,
                          struct momi_slot_cursor *cursor, struct momi_record *record) {
    if (slot < cursor->slot) {
        *cursor = (struct momi_slot_cursor){.started = true};
    }
    struct momi_record found;
    uint32_t found_slot;
    struct momi_slot_cursor before = *cursor;
    while (hollow_next(entry, cursor, &found_slot, &found)) {
        if (found_slot == slot) {
            *record = found;
            return true;
        }
        if (found_slot > slot) {
            *cursor = before; /* not there; the next request may be for this one */
            return false;
        }
        before = *cursor;
    }
    return false;
}

bool momi_entry_record(const struct momi_entry *entry, uint32_t slot,
                       struct momi_slot_cursor *cursor, struct momi_record *record) {
    cursor->started = true;
    if (slot >= entry->slots_count || cursor->offset > entry->body.size) {
        return false;
    }
    switch (entry->kind) {
    case MOMI_ENTRY_COMMANDS:
        return whole_record(entry, slot, cursor, record);
    case MOMI_ENTRY_HOLLOW:
        return hollow_record(entry, slot, cursor, record);
    case MOMI_ENTRY_NOOP:
    case MOMI_ENTRY_CONFIG:
        break;
    }
    return false;
}

/* The size of the hollow entry, or 0 when a slot is not there or out of order. */
static size_t hollow_size(const struct momi_entry *entry, const uint32_t *slots,
                          size_t slots_count) {
    size_t size = MOMI_ENTRY_HEADER;
    struct momi_slot_cursor cursor = {.offset = 0};
    for (size_t index = 0; index < slots_count; index++) {
        struct momi_record record;
        if ((index > 0 && slots[index] <= slots[index - 1]) ||
            !momi_entry_record(entry, slots[index], &cursor, &record) ||
            !momi_record_check(&record)) {
            return 0;
        }
        size += HOLLOW_ITEM_HEADER + record.whole.size;
    }
    return size <= MOMI_ENTRY_BYTES_MAX ? size : 0;
}

struct momi_buf *momi_entry_hollow(struct momi_slice whole, const uint32_t *slots,
                                   size_t slots_count) {
    struct momi_entry entry;
    if (!momi_entry_parse(whole, &entry) ||
        (entry.kind != MOMI_ENTRY_COMMANDS && entry.kind != MOMI_ENTRY_HOLLOW)) {
        return NULL;
    }
    size_t size = hollow_size(&entry, slots, slots_count);
    struct momi_buf *buf = size == 0 ? NULL : momi_buf_new(size);
    if (buf == NULL) {
        return NULL;
    }
    struct momi_entry header = entry;
    header.kind = MOMI_ENTRY_HOLLOW;
    write_entry_header(buf->data, &header);
    uint8_t *at = buf->data + MOMI_ENTRY_HEADER;
    struct momi_slot_cursor cursor = {.offset = 0};
    for (size_t index = 0; index < slots_count; index++) {
        struct momi_record record;
        bool is_found = momi_entry_record(&entry, slots[index], &cursor, &record);
        MOMI_ASSERT(is_found); /* hollow_size found it */
        momi_store_le32(at, slots[index]);
        momi_store_le64(at + 4, cursor.publisher);
        memcpy(at + HOLLOW_ITEM_HEADER, record.whole.data, record.whole.size);
        at += HOLLOW_ITEM_HEADER + record.whole.size;
    }
    MOMI_ASSERT(at == buf->data + buf->size);
    finish_entry(buf);
    return buf;
}

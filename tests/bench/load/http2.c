#include "http2.h"

#include <stdio.h>
#include <string.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
enum { HEADER_TABLE_SIZE = 1, INITIAL_WINDOW_SIZE = 4, MAX_FRAME_SIZE = 5 };
enum { STREAM = 1, PREFIX = 5, FRAME_MAX = 16384, MESSAGE_MAX = 64 << 20, WINDOW_MAX = 0x7fffffff };
enum { OPEN_AGAIN = 1 << 28 };

static uint32_t number(const uint8_t *bytes, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value = value << 8 | bytes[i];
    return value;
}

static void put_number(Buffer *out, uint32_t value, int size) {
    uint8_t bytes[4];
    for (int i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> 8 * (size - 1 - i));
    buffer_add(out, bytes, (size_t)size);
}

static void put_frame(Buffer *out, uint8_t type, uint8_t flags, uint32_t stream, const void *bytes,
                      size_t size) {
    put_number(out, (uint32_t)size, 3);
    put_number(out, type, 1);
    put_number(out, flags, 1);
    put_number(out, stream, 4);
    buffer_add(out, bytes, size);
}

static void put_window(Buffer *out, uint32_t stream, uint32_t more) {
    uint8_t bytes[] = {(uint8_t)(more >> 24), (uint8_t)(more >> 16), (uint8_t)(more >> 8), (uint8_t)more};
    put_frame(out, WINDOW_UPDATE, 0, stream, bytes, sizeof bytes);
}

/* A literal without indexing; the name is either one of the static table or a text (RFC 7541, 6.2.2). */
static void put_header(Buffer *out, uint8_t index, const char *name, const char *value) {
    put_number(out, index < 15 ? index : 15, 1);
    if (index >= 15) put_number(out, index - 15, 1);
    if (!index) {
        put_number(out, (uint32_t)strlen(name), 1);
        buffer_add(out, name, strlen(name));
    }
    put_number(out, (uint32_t)strlen(value), 1); /* below 127 and not Huffman: one byte */
    buffer_add(out, value, strlen(value));
}

void http2_open(Http2 *http2, const char *path, const char *authority) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[] = {0, HEADER_TABLE_SIZE, 0, 0, 0, 0,
                                       0, INITIAL_WINDOW_SIZE, 0x7f, 0xff, 0xff, 0xff};
    http2->connection_window = http2->stream_window = http2->peer_window = 65535;
    http2->frame_max = FRAME_MAX;
    buffer_add(&http2->out, preface, sizeof preface - 1);
    put_frame(&http2->out, SETTINGS, 0, 0, settings, sizeof settings);
    put_window(&http2->out, 0, WINDOW_MAX - 65535);

    Buffer block = {0};
    put_number(&block, 0x83, 1); /* :method POST */
    put_number(&block, 0x87, 1); /* :scheme https */
    put_header(&block, 4, ":path", path);
    put_header(&block, 1, ":authority", authority);
    put_header(&block, 31, "content-type", "application/grpc");
    put_header(&block, 0, "te", "trailers");
    put_frame(&http2->out, HEADERS, END_HEADERS, STREAM, buffer_front(&block), buffer_size(&block));
    buffer_clear(&block);
}

static void pump(Http2 *http2) {
    for (;;) {
        int64_t size = (int64_t)buffer_size(&http2->waiting);
        if (size > http2->frame_max) size = http2->frame_max;
        if (size > http2->connection_window) size = http2->connection_window;
        if (size > http2->stream_window) size = http2->stream_window;
        if (size <= 0) return;
        put_frame(&http2->out, DATA, 0, STREAM, buffer_front(&http2->waiting), (size_t)size);
        buffer_drop(&http2->waiting, (size_t)size);
        http2->connection_window -= size;
        http2->stream_window -= size;
    }
}

void http2_send(Http2 *http2, const uint8_t *message, size_t size) {
    put_number(&http2->waiting, 0, 1); /* not compressed */
    put_number(&http2->waiting, (uint32_t)size, 4);
    buffer_add(&http2->waiting, message, size);
    pump(http2);
}

static void closed(Http2 *http2, const char *what, const uint8_t *bytes, size_t size) {
    if (http2->closed) return;
    size_t at = (size_t)snprintf(http2->reason, sizeof http2->reason, "%s", what);
    for (size_t i = 0; i < size && at + 1 < sizeof http2->reason; i++) {
        bool is_plain = bytes[i] >= ' ' && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';
        http2->reason[at++] = is_plain ? (char)bytes[i] : ' ';
    }
    http2->reason[at] = 0;
    http2->closed = http2->reason;
}

static void settings(Http2 *http2, const uint8_t *bytes, size_t size) {
    for (; size >= 6; bytes += 6, size -= 6) {
        uint32_t value = number(bytes + 2, 4);
        switch (number(bytes, 2)) {
        case INITIAL_WINDOW_SIZE: /* moves the windows of open streams as well: RFC 9113, 6.9.2 */
            http2->stream_window += (int64_t)value - http2->peer_window;
            http2->peer_window = value;
            break;
        case MAX_FRAME_SIZE:
            if (value >= FRAME_MAX) http2->frame_max = value;
            break;
        }
    }
    put_frame(&http2->out, SETTINGS, ACK, 0, NULL, 0);
}

/* A whole frame that is not DATA. GOAWAY is only a wish: the stream stays until its server ends it. */
static void control(Http2 *http2, const uint8_t *bytes, size_t size) {
    uint8_t type = http2->header[3], flags = http2->header[4];
    uint32_t stream = number(http2->header + 5, 4);
    switch (type) {
    case SETTINGS:
        if (!(flags & ACK)) settings(http2, bytes, size);
        break;
    case PING:
        if (!(flags & ACK) && size == 8) put_frame(&http2->out, PING, ACK, 0, bytes, 8);
        break;
    case WINDOW_UPDATE:
        if (size != 4) break;
        *(stream ? &http2->stream_window : &http2->connection_window) += number(bytes, 4) & WINDOW_MAX;
        break;
    case HEADERS:
        if (flags & END_STREAM) closed(http2, "ended: ", bytes, size);
        break;
    case RST_STREAM:
        closed(http2, "reset", NULL, 0);
        break;
    }
    pump(http2);
}

static void data(Http2 *http2, const uint8_t *bytes, size_t size) {
    while (size && !http2->closed) {
        size_t have = buffer_size(&http2->message);
        size_t wanted = PREFIX;
        if (have >= PREFIX) wanted += number(buffer_front(&http2->message) + 1, 4);
        if (wanted > MESSAGE_MAX || (have && *buffer_front(&http2->message))) {
            closed(http2, "message too long or compressed", NULL, 0);
            return;
        }
        size_t part = wanted - have < size ? wanted - have : size;
        buffer_add(&http2->message, bytes, part);
        bytes += part;
        size -= part;
        const uint8_t *message = buffer_front(&http2->message);
        have += part;
        if (have < PREFIX || have < PREFIX + (size_t)number(message + 1, 4)) continue;
        http2->hear(http2->owner, message + PREFIX, have - PREFIX);
        buffer_drop(&http2->message, have);
    }
}

static void frame_begins(Http2 *http2) {
    bool is_data = http2->header[3] == DATA;
    http2->payload_left = number(http2->header, 3);
    if (http2->payload_left > FRAME_MAX) closed(http2, "frame too long", NULL, 0);
    if (is_data && http2->header[4] & PADDED) closed(http2, "padded data", NULL, 0);
    if (!is_data && !http2->payload_left) control(http2, NULL, 0);
    if (!http2->payload_left) http2->header_size = 0;
}

static void count_consumed(Http2 *http2, size_t size) {
    http2->consumed += (uint32_t)size;
    if (http2->consumed < OPEN_AGAIN) return;
    put_window(&http2->out, 0, http2->consumed);
    put_window(&http2->out, STREAM, http2->consumed);
    http2->consumed = 0;
}

void http2_feed(Http2 *http2, const uint8_t *bytes, size_t size) {
    while (size && !http2->closed) {
        if (http2->header_size < sizeof http2->header) {
            http2->header[http2->header_size++] = *bytes++;
            size--;
            if (http2->header_size == sizeof http2->header) frame_begins(http2);
            continue;
        }
        size_t part = http2->payload_left < size ? http2->payload_left : size;
        http2->payload_left -= (uint32_t)part;
        if (http2->header[3] == DATA) {
            count_consumed(http2, part);
            data(http2, bytes, part);
        } else {
            buffer_add(&http2->payload, bytes, part);
        }
        bytes += part;
        size -= part;
        if (http2->payload_left) continue;
        if (http2->header[3] != DATA) {
            control(http2, buffer_front(&http2->payload), buffer_size(&http2->payload));
            buffer_drop(&http2->payload, buffer_size(&http2->payload));
        }
        http2->header_size = 0;
    }
}

void http2_free(Http2 *http2) {
    buffer_clear(&http2->out);
    buffer_clear(&http2->waiting);
    buffer_clear(&http2->payload);
    buffer_clear(&http2->message);
    *http2 = (Http2){.hear = http2->hear, .owner = http2->owner};
}

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *grown(void *memory, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) abort();
    void *more = realloc(memory, count * size);
    if (!more) {
        fprintf(stderr, "load: out of memory\n");
        exit(1);
    }
    return more;
}

size_t buffer_size(const Buffer *buffer) { return buffer->end - buffer->start; }

const uint8_t *buffer_front(const Buffer *buffer) { return buffer->data + buffer->start; }

void buffer_add(Buffer *buffer, const void *bytes, size_t size) {
    if (!size) return;
    if (buffer->end + size > buffer->capacity && buffer->start) {
        memmove(buffer->data, buffer->data + buffer->start, buffer_size(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end + size > buffer->capacity) {
        buffer->capacity = (buffer->end + size) * 3 / 2;
        buffer->data = grown(buffer->data, buffer->capacity, 1);
    }
    memcpy(buffer->data + buffer->end, bytes, size);
    buffer->end += size;
}

void buffer_drop(Buffer *buffer, size_t size) {
    buffer->start += size;
    /* A thousand idle streams keep no memory; small buffers are kept for the next ACK. */
    if (buffer->start == buffer->end) {
        if (buffer->capacity > 4096) buffer_clear(buffer);
        buffer->start = buffer->end = 0;
    }
}

void buffer_clear(Buffer *buffer) {
    free(buffer->data);
    *buffer = (Buffer){0};
}

Reader reader(const uint8_t *bytes, size_t size) { return (Reader){.at = bytes, .end = bytes + size}; }

static bool read_varint(Reader *in, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    in->is_broken = true;
    return false;
}

static bool read_bytes(Reader *in, uint64_t size, Field *field) {
    if (size > (uint64_t)(in->end - in->at)) {
        in->is_broken = true;
        return false;
    }
    field->bytes = in->at;
    field->size = size;
    in->at += size;
    return true;
}

bool next_field(Reader *in, Field *field) {
    uint64_t tag, size;
    if (in->is_broken || in->at == in->end || !read_varint(in, &tag)) return false;
    *field = (Field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) { /* Protocol Buffers, "Encoding", message structure */
    case 0:
        return read_varint(in, &field->value);
    case 1:
        return read_bytes(in, 8, field);
    case 2:
        field->is_bytes = true;
        return read_varint(in, &size) && read_bytes(in, size, field);
    case 5:
        return read_bytes(in, 4, field);
    default:
        in->is_broken = true;
        return false;
    }
}

static void put_varint(Buffer *out, uint64_t value) {
    uint8_t bytes[10];
    size_t size = 0;
    for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
    bytes[size++] = (uint8_t)value;
    buffer_add(out, bytes, size);
}

void put_bytes(Buffer *out, uint32_t number, const void *bytes, size_t size) {
    put_varint(out, (uint64_t)number << 3 | 2);
    put_varint(out, size);
    buffer_add(out, bytes, size);
}

void put_text(Buffer *out, uint32_t number, const char *text) { put_bytes(out, number, text, strlen(text)); }

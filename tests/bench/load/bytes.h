/* Growing buffers, and protobuf's wire format as far as xDS needs it.
 *
 * Whatever is read comes from another process: the reader never leaves its bounds, and a malformed
 * message makes it stop and say so. Running out of memory ends the process: there is nothing to save.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *data;
    size_t start, end, capacity;
} Buffer;

void *grown(void *memory, size_t count, size_t size); /* realloc that ends the process when refused */

size_t buffer_size(const Buffer *buffer);
const uint8_t *buffer_front(const Buffer *buffer);
void buffer_add(Buffer *buffer, const void *bytes, size_t size);
void buffer_drop(Buffer *buffer, size_t size); /* from the front */
void buffer_clear(Buffer *buffer);             /* and gives the memory back */

typedef struct {
    const uint8_t *at, *end;
    bool is_broken;
} Reader;

typedef struct {
    uint32_t number;
    bool is_bytes; /* a string, bytes or message; everything else arrives in `value` */
    uint64_t value;
    const uint8_t *bytes;
    size_t size;
} Field;

Reader reader(const uint8_t *bytes, size_t size);
bool next_field(Reader *in, Field *field); /* false at the end, and when broken */

void put_bytes(Buffer *out, uint32_t number, const void *bytes, size_t size);
void put_text(Buffer *out, uint32_t number, const char *text);

#endif

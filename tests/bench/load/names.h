/* Names and versions as small numbers, and what a stream knows about each.
 *
 * Two thousand streams know the same thousand names, so a text is kept once and streams keep its
 * number: what one stream remembers of one resource is eight bytes.
 */
#ifndef NAMES_H
#define NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *bytes;
    uint32_t size;
} Text;

uint32_t interned(const uint8_t *bytes, size_t size); /* never 0 */
Text text_of(uint32_t id);

typedef struct {
    struct Slot {
        uint32_t key, value;
    } *slots;
    uint32_t used, capacity;
} Map;

uint32_t map_value(const Map *map, uint32_t key); /* 0 when never set */
void map_set(Map *map, uint32_t key, uint32_t value);

#endif

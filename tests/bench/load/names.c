#include "names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static struct {
    Text *texts;     /* by id; 0 is no text */
    uint32_t *slots; /* open addressing: id, or 0 */
    uint32_t count, capacity;
} table;

static uint32_t hash_of(const uint8_t *bytes, size_t size) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

static uint32_t *slot_of(const uint8_t *bytes, size_t size) {
    uint32_t mask = table.capacity - 1;
    for (uint32_t at = hash_of(bytes, size) & mask;; at = (at + 1) & mask) {
        uint32_t id = table.slots[at];
        if (!id) return &table.slots[at];
        Text text = table.texts[id];
        if (text.size == size && !memcmp(text.bytes, bytes, size)) return &table.slots[at];
    }
}

static void make_room(void) {
    if (table.count + 2 < table.capacity / 2) return;
    table.capacity = table.capacity ? table.capacity * 2 : 4096;
    table.texts = grown(table.texts, table.capacity / 2, sizeof *table.texts);
    free(table.slots);
    table.slots = grown(NULL, table.capacity, sizeof *table.slots);
    memset(table.slots, 0, table.capacity * sizeof *table.slots);
    for (uint32_t id = 1; id <= table.count; id++)
        *slot_of((const uint8_t *)table.texts[id].bytes, table.texts[id].size) = id;
}

uint32_t interned(const uint8_t *bytes, size_t size) {
    make_room();
    uint32_t *slot = slot_of(bytes, size);
    if (!*slot) {
        char *copy = grown(NULL, size + 1, 1);
        memcpy(copy, bytes, size);
        copy[size] = 0;
        *slot = ++table.count;
        table.texts[*slot] = (Text){copy, (uint32_t)size};
    }
    return *slot;
}

Text text_of(uint32_t id) { return table.texts[id]; }

static struct Slot *place(const Map *map, uint32_t key) {
    uint32_t mask = map->capacity - 1;
    uint32_t at = key * 2654435761u & mask;
    while (map->slots[at].key && map->slots[at].key != key) at = (at + 1) & mask;
    return &map->slots[at];
}

uint32_t map_value(const Map *map, uint32_t key) { return map->capacity ? place(map, key)->value : 0; }

void map_set(Map *map, uint32_t key, uint32_t value) {
    if (map->used * 4 >= map->capacity * 3) {
        Map wider = {.capacity = map->capacity ? map->capacity * 2 : 16, .used = map->used};
        wider.slots = grown(NULL, wider.capacity, sizeof *wider.slots);
        memset(wider.slots, 0, wider.capacity * sizeof *wider.slots);
        for (uint32_t i = 0; i < map->capacity; i++)
            if (map->slots[i].key) *place(&wider, map->slots[i].key) = map->slots[i];
        free(map->slots);
        *map = wider;
    }
    struct Slot *slot = place(map, key);
    if (!slot->key) {
        slot->key = key;
        map->used++;
    }
    slot->value = value;
}
